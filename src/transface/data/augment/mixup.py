"""Mixup: each face of a batch is mixed with another one, and so is its loss (Zhang et al., 2018).

Shapes: B faces; images are (B, 3, H, W), float.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from transface.data.augment.augmentations import check_probability, chosen


class MixedFaces(NamedTuple):
    """Images of which each is `ratio` of one face and 1 - `ratio` of another.

    Attributes:
        images: (B, 3, H, W).
        other: (B,) which face of the batch is mixed in; its label is labels[other].
        ratio: (B,) in 0..1; the loss is ratio * loss(labels) + (1 - ratio) * loss(labels[other]).
    """

    images: Tensor
    other: Tensor
    ratio: Tensor


class Mixup(nn.Module):
    """Mixes faces in pairs with ratios from Beta(alpha, alpha); the loss must be mixed alike, see `MixedFaces`."""

    def __init__(self, *, alpha: float = 0.2, probability: float = 1.0) -> None:
        super().__init__()
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be above 0 and finite, got {alpha}")
        self.alpha = alpha
        self.probability = check_probability(probability)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> MixedFaces:
        count = len(images)
        device = images.device if generator is None else generator.device
        other = torch.randperm(count, generator=generator, device=device)
        alphas = torch.full((2, count), self.alpha, dtype=torch.float64, device=device)
        drawn = torch._standard_gamma(alphas, generator=generator)
        ratio = (drawn[0] / drawn.sum(0).clamp(min=1e-300)).to(images)
        use = chosen(count, self.probability, like=images, generator=generator)[:, 0, 0, 0]
        ratio, other = torch.where(use, ratio, torch.ones_like(ratio)), other.to(images.device)
        share = ratio[:, None, None, None]
        return MixedFaces(share * images + (1 - share) * images[other], other, ratio)
