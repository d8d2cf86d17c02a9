"""Token drop: in training some tokens skip the blocks; a learned mask token takes their place before the gate and the
neck.

Shapes: B faces, N patches, M kept patches, D token width.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class KeptTokens(NamedTuple):
    """The kept tokens (B, M, D), and for each of the N positions where it went: below M a kept token, else a dropped
    one (B, N).
    """

    tokens: Tensor
    positions: Tensor


def drop_tokens(tokens: Tensor, rate: float, *, generator: torch.Generator | None = None) -> KeptTokens:
    """Return int(N * (1 - rate)) tokens of each face, at least one, chosen uniformly and apart for each face."""
    batch, count, width = tokens.shape
    num_kept = max(1, int(count * (1 - rate)))
    order = torch.rand(batch, count, device=tokens.device, generator=generator).argsort(dim=1)
    kept = order[:, :num_kept, None].expand(-1, -1, width)
    return KeptTokens(tokens.gather(1, kept), order.argsort(dim=1))


def restore_tokens(kept: Tensor, positions: Tensor, mask_token: Tensor) -> Tensor:
    """Return tokens (B, N, D) in their old order, `mask_token` (1, 1, D) standing in each dropped position."""
    batch, num_kept, width = kept.shape
    masks = mask_token.to(kept.dtype).expand(batch, positions.shape[1] - num_kept, -1)
    return torch.cat([kept, masks], dim=1).gather(1, positions[..., None].expand(-1, -1, width))
