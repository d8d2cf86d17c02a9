"""Losses of regions: cross-entropy over pixels, in which small regions may weigh more than their pixels.

Shapes: B images, R regions, H x W pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def region_cross_entropy(logits: Tensor, regions: Tensor, *, balance: float = 0.0) -> Tensor:
    """Return the cross-entropy of region logits (B, R, H, W) against regions (B, H, W), mean over pixels and images.

    With `balance` b each pixel weighs (share of its region in its image)^-b, scaled to a mean weight of 1: 0 counts
    pixels, 1 every region of an image alike. A mean of images, so that it does not depend on how a batch is dealt.

    Raises:
        ValueError: for a balance outside 0..1.
    """
    if not 0 <= balance <= 1:
        raise ValueError(f"the balance of regions must be in 0..1, got {balance}")
    if not balance:
        return F.cross_entropy(logits, regions.long())
    shares = F.one_hot(regions.flatten(1).long(), logits.shape[1]).to(logits.dtype).mean(1)
    weights = torch.where(shares > 0, shares, 1.0) ** -balance
    weights = weights / (weights * shares).sum(1, keepdim=True)
    entropy = F.cross_entropy(logits, regions.long(), reduction="none")
    return (entropy.flatten(1) * weights.gather(1, regions.flatten(1).long())).mean()
