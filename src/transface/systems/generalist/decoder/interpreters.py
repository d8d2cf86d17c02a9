"""Interpreters: how tokens become numbers, maps and embeddings; one shared instance for each form of answer.

Faceptor (ECCV 2024) section 3.2. Shapes: B images, Q queries, D width, S side of the token grid, E embedding size.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ValueInterpreter(nn.Module):
    """One number a query, by one linear layer shared by all queries of all tasks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, Q) of tokens (B, Q, D)."""
        return self.linear(tokens).squeeze(-1)


class QueryValues(nn.Module):
    """One number a query, by a linear form of its own: what is new in an image reaches every query of a task alike at
    first, and one shared layer tells the queries apart only once the decoder has learned to.

    Args of the constructor:
        counts: by task, Q.
        width: D.
    """

    def __init__(self, counts: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.weight = nn.ParameterDict(
            {name: nn.Parameter(width**-0.5 * torch.randn(count, width)) for name, count in counts.items()}
        )
        self.bias = nn.ParameterDict({name: nn.Parameter(torch.zeros(count)) for name, count in counts.items()})

    def forward(self, tokens: Tensor, name: str) -> Tensor:
        """Return logits (B, Q) of the tokens (B, Q, D) of a task."""
        return (tokens * self.weight[name]).sum(-1) + self.bias[name]


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map (B, D, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.movedim(1, -1)).movedim(-1, 1)


class PixelDecoder(nn.Sequential):
    """Makes a map four times as fine: (B, D, S, S) -> (B, D, 4S, 4S)."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(width, width, 2, 2),
            ChannelNorm(width),
            nn.GELU(),
            nn.ConvTranspose2d(width, width, 2, 2),
        )


class LayerDetail(nn.Module):
    """What further layers of the encoder add to the pixel decoder, where its map is twice as fine as the tokens.

    It starts at nought, so that a network that gains it begins as what it was.

    Args of the constructor:
        token_width: of the encoder.
        width: D.
        layers: whose tokens it reads.
    """

    def __init__(self, token_width: int, width: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(token_width) for _ in layers)
        self.finer = nn.ModuleList(nn.ConvTranspose2d(token_width, width, 2, 2, bias=False) for _ in layers)
        for one in self.finer:
            nn.init.zeros_(one.get_parameter("weight"))

    def forward(self, tokens: Mapping[int, Tensor], grid_size: tuple[int, int]) -> Tensor:
        """Return (B, D, 2S, 2S) of tokens (B, S*S, token_width) by layer."""
        found = [
            finer(norm(tokens[layer]).transpose(1, 2).unflatten(2, grid_size))
            for layer, norm, finer in zip(self.layers, self.norms, self.finer, strict=True)
        ]
        return torch.stack(found).sum(0)


class MapInterpreter(nn.Module):
    """One map a query: the product of its token, through an MLP, with every pixel of the decoded map.

    Args of the constructor:
        width: D.
        token_width: of the encoder, where `layers` are given.
        layers: of the encoder that the pixel decoder reads beside the projected map; none as published.
    """

    def __init__(self, width: int, *, token_width: int = 0, layers: Sequence[int] = ()) -> None:
        super().__init__()
        self.pixel_decoder = PixelDecoder(width)
        self.detail = LayerDetail(token_width, width, layers) if layers else None
        self.token_mlp = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, tokens: Tensor, features: Tensor, layers: Mapping[int, Tensor] | None = None) -> Tensor:
        """Return logits (B, Q, 4S, 4S) of tokens (B, Q, D) and the projected map (B, D, S, S); `layers` holds the
        encoder's tokens by layer.
        """
        first, *rest = self.pixel_decoder
        finer = first(features)
        if self.detail is not None:
            assert layers is not None
            finer = finer + self.detail(layers, (int(features.shape[2]), int(features.shape[3])))
        for part in rest:
            finer = part(finer)
        return torch.einsum("bqc,bchw->bqhw", self.token_mlp(tokens), finer)


class IdentityInterpreter(nn.Module):
    """An embedding of the encoder's last tokens: norm, mean, two linear layers with batch norms."""

    def __init__(self, token_width: int, embedding_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(token_width)
        self.head = nn.Sequential(
            nn.Linear(token_width, token_width, bias=False),
            nn.BatchNorm1d(token_width, eps=2e-5),
            nn.Linear(token_width, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size, eps=2e-5),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return embeddings (B, E), not normalised, of tokens (B, N, token_width)."""
        return self.head(self.norm(tokens).mean(1))


def soft_argmax(logits: Tensor) -> Tensor:
    """Return the points (B, Q, 2), x and y in 0..1, of maps of logits (B, Q, H, W): the mean cell, weighted by the
    sigmoid.

    A map whose sigmoids sum to less than 1e-6 gives the first cell.
    """
    return _mean_cell(logits.sigmoid())


def softmax_argmax(logits: Tensor) -> Tensor:
    """Return the points (B, Q, 2), x and y in 0..1, of maps of logits (B, Q, H, W): the mean cell, weighted by the
    softmax over the map.

    Unlike the sigmoid's, its gradient at the start does not vanish, and cells far from the point do not draw it to the
    middle of the map.
    """
    return _mean_cell(logits.flatten(-2).softmax(-1).view_as(logits))


def _mean_cell(heat: Tensor) -> Tensor:
    """Return the mean cell (B, Q, 2), x and y in 0..1, of weights (B, Q, H, W)."""
    height, width = heat.shape[-2:]
    total = heat.sum((-2, -1)).clamp_min(1e-6)
    columns = torch.arange(width, dtype=heat.dtype, device=heat.device)
    rows = torch.arange(height, dtype=heat.dtype, device=heat.device)
    x = (heat.sum(-2) * columns).sum(-1) / total
    y = (heat.sum(-1) * rows).sum(-1) / total
    return torch.stack([(x + 0.5) / width, (y + 0.5) / height], -1)


# What makes a point of a heat map, by name: as published, and ours.
POINT_READERS: Mapping[str, Callable[[Tensor], Tensor]] = {"sigmoid": soft_argmax, "softmax": softmax_argmax}


def upsampled_regions(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return region logits (B, R, *size) of maps (B, R, h, w), bilinear, half-pixel centres."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
