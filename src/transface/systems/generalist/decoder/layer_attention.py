"""Layer-Attention: queries attend to the tokens of several encoder layers at once, and prefer layers as they need.

Faceptor (ECCV 2024) section 3.3. The released form lets a learned embedding of each layer enter the keys. Ours may add
a learned bias per task and layer to the scores: with -inf for the new layers it is the one-layer decoder, and its
softmax is a readable profile of the task.
Shapes: B images, L layers, S side of the grid, N = S*S tokens of a layer, D width, Q queries, H heads.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


def sincos_positions(rows: int, columns: int, width: int, *, temperature: float = 10000.0) -> Tensor:
    """Return the sine and cosine features (rows * columns, width) of the cells' centres, vertical half first.

    Raises:
        ValueError: if the width is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width of sine positions must be a multiple of 4, got {width}")
    frequency = temperature ** (-2 * torch.arange(width // 4, dtype=torch.float32) / (width // 2))

    def features(cells: int) -> Tensor:
        centre = (torch.arange(cells, dtype=torch.float32) + 0.5) / cells
        angle = 2 * math.pi * centre[:, None] * frequency
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)

    vertical = features(rows)[:, None].expand(-1, columns, -1)
    horizontal = features(columns)[None].expand(rows, -1, -1)
    return torch.cat([vertical, horizontal], -1).flatten(0, 1)


class Memory(NamedTuple):
    """What the decoder attends to: the projected tokens of all layers, one layer after another.

    Attributes:
        tokens: (B, L*N, D).
        positions: (L*N, D), added to the keys.
        grid_size: rows and columns of one layer.
        layers: their numbers in the order of the memory.
    """

    tokens: Tensor
    positions: Tensor
    grid_size: tuple[int, int]
    layers: tuple[int, ...]

    def main_map(self) -> Tensor:
        """Return the projected map (B, D, rows, columns) of the first layer, which the maps of dense tasks are read
        from.
        """
        rows, columns = self.grid_size
        return self.tokens[:, : rows * columns].transpose(1, 2).unflatten(2, self.grid_size)


class LayerMemory(nn.Module):
    """Projects the tokens of chosen layers and gives their keys a position and an embedding of the layer.

    Args of the constructor:
        token_width: of the encoder.
        width: D.
        layers: in the order of the memory; the first is the main one (the encoder's last).
    """

    def __init__(self, token_width: int, width: int, layers: Sequence[int] = (11,)) -> None:
        super().__init__()
        if not layers or len(set(layers)) != len(layers):
            raise ValueError(f"layers must be different and at least one, got {list(layers)}")
        self.layers = tuple(layers)
        self.width = width
        self.projections = nn.ModuleList(nn.Linear(token_width, width) for _ in layers)
        self.layer_embedding = nn.Parameter(torch.randn(len(layers), width))
        self.position_mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        for projection in self.projections:
            assert isinstance(projection, nn.Linear)
            nn.init.kaiming_uniform_(projection.weight, a=1)
            nn.init.zeros_(projection.bias)

    def forward(
        self, tokens: Mapping[int, Tensor], grid_size: tuple[int, int], layers: Sequence[int] | None = None
    ) -> Memory:
        """Return the memory of tokens (B, N, token_width) by layer; `layers` takes some of the own ones only."""
        chosen = self.layers if layers is None else tuple(layers)
        indices = [self.layers.index(layer) for layer in chosen]
        projected = [self.projections[index](tokens[layer]) for index, layer in zip(indices, chosen, strict=True)]
        positions = self.positions(grid_size).to(projected[0])
        keys = torch.cat([positions + self.layer_embedding[index] for index in indices])
        return Memory(torch.cat(projected, 1), keys, grid_size, chosen)

    def positions(self, grid_size: tuple[int, int]) -> Tensor:
        """Return the learned positions (N, D) of a grid, without the embedding of a layer."""
        sincos = sincos_positions(*grid_size, self.width)
        return self.position_mlp(sincos.to(self.layer_embedding))


class LayerBias(nn.Module):
    """A learned addend per task and layer (and head) to the attention scores: one training instead of two stages.

    Args of the constructor:
        tasks: names of the tasks with queries.
        num_layers: L; the first, main layer starts at 0.
        num_heads: heads with a bias of their own; 1 shares one among all heads.
        start: of every other layer; strongly negative: at first the main layer alone is heard.
    """

    def __init__(self, tasks: Sequence[str], num_layers: int, *, num_heads: int = 1, start: float = -6.0) -> None:
        super().__init__()
        first = torch.full((num_heads, num_layers), float(start))
        first[:, 0] = 0.0
        self.bias = nn.ParameterDict({name: nn.Parameter(first.clone()) for name in tasks})

    def forward(self, counts: Mapping[str, int], cells: int) -> Tensor:
        """Return the bias (H or 1, Q, L * cells) of the queries of some tasks, `counts` of them each."""
        rows = [self.bias[name][:, None].expand(-1, count, -1) for name, count in counts.items()]
        return torch.cat(rows, 1).repeat_interleave(cells, -1)

    def profile(self, name: str) -> Tensor:
        """Return the share (H or 1, L) of each layer that the bias alone gives a task; rows sum to 1."""
        return self.bias[name].detach().softmax(-1)


def layer_preference(weights: Tensor, num_layers: int) -> Tensor:
    """Return how much attention (*, Q, L) of weights (*, Q, L*N) goes to each layer."""
    return weights.unflatten(-1, (num_layers, -1)).sum(-1)
