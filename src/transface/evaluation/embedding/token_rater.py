"""Rates faces by the tokens of a vision transformer (ViTNT-FIQA) while it embeds them: one forward pass gives both.

Shapes: B faces of a forward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from transface.metrics.token_quality import token_distances, token_quality


class TransformerBlocks(NamedTuple):
    """The blocks of a vision transformer, its final LayerNorm, and how many tokens stand before the patches'."""

    blocks: list[nn.Module]
    norm: nn.LayerNorm
    num_prefix: int


def transformer_blocks(backbone: nn.Module) -> TransformerBlocks:
    """Return the blocks of a vision transformer of ours or of timm's.

    Raises:
        ValueError: if it has none.
    """
    for module in backbone.modules():
        blocks, norm = getattr(module, "blocks", None), getattr(module, "norm", None)
        if isinstance(blocks, nn.ModuleList | nn.Sequential) and isinstance(norm, nn.LayerNorm):
            return TransformerBlocks(list(blocks), norm, int(getattr(module, "num_prefix_tokens", 0)))
    raise ValueError(
        f"{type(backbone).__name__} is no vision transformer: its tokens give no quality; the norms of its"
        " embeddings may"
    )


@contextmanager
def rating_tokens(backbone: nn.Module, *, num_blocks: int | None = None) -> Iterator[list[Tensor]]:
    """Yield a list to which every forward pass adds the qualities (B,) of its faces, in (0, 1), on the CPU.

    Args:
        num_blocks: how many blocks from the first on are compared; by default all. The publication takes 20 of 24.

    Raises:
        ValueError: for a backbone that is no vision transformer, or fewer than two blocks.
    """
    blocks, norm, num_prefix = transformer_blocks(backbone)
    if len(blocks) < 2:
        raise ValueError("quality=tokens compares the blocks of a transformer, and this one has one: use quality=norm")
    count = len(blocks) if num_blocks is None else num_blocks
    if not 2 <= count <= len(blocks):
        raise ValueError(f"num_blocks must be in 2..{len(blocks)}, got {num_blocks}")
    qualities: list[Tensor] = []
    distances: list[Tensor] = []
    last: list[Tensor] = []

    def after_block(place: int, tokens: Tensor) -> None:
        patches = tokens[:, num_prefix:].float()
        if place == 0:
            distances.clear()
        else:
            pair = torch.stack([last[0], patches], 1)
            distances.append(token_distances(pair, norm.weight.float(), norm.bias.float(), eps=norm.eps)[:, 0])
        last[:] = [patches]
        if place == count - 1:
            qualities.append(token_quality(torch.stack(distances, 1)).cpu())

    def hook_of(place: int) -> Any:
        return lambda _module, _inputs, tokens: after_block(place, tokens)

    hooks = [block.register_forward_hook(hook_of(place)) for place, block in enumerate(blocks[:count])]
    try:
        yield qualities
    finally:
        for hook in hooks:
            hook.remove()
