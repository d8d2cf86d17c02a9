"""Layers painted over faces on the device: coverage from signed distances, colours over pixels, one alpha of all of
them.

Shapes: B faces of H x W pixels. A distance is in pixels, positive inside.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Layer(NamedTuple):
    """One coat of paint.

    Attributes:
        colour: (B, 3, H, W), or whatever expands to it, in 0..255.
        cover: (B, H, W) in 0..1.
    """

    colour: Tensor
    cover: Tensor


def over(images: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, Tensor]:
    """Return images (B, 3, H, W) with layers painted on, the first one lowest, and the alpha (B, 1, H, W) of all of
    them.

    Where alpha is 0 the pixel is exactly as it was. uint8 images are rounded once, at the end.
    """
    painted = images.float()
    clear = torch.ones(len(images), 1, *images.shape[2:], device=images.device)
    for layer in layers:
        cover = layer.cover[:, None]
        painted = torch.lerp(painted, layer.colour.to(painted).expand_as(painted), cover)
        clear = clear * (1 - cover)
    alpha = 1 - clear
    if not images.is_floating_point():
        painted = painted.round_().clamp_(0, 255)
    return torch.where(alpha > 0, painted.to(images.dtype), images), alpha


def inside(distance: Tensor) -> Tensor:
    """Return the cover of each pixel whose centre lies `distance` inside an edge: anti-aliased over one pixel."""
    return (distance + 0.5).clamp(0, 1)


def shadow(distance: Tensor, reach: Tensor, strength: float) -> Tensor:
    """Return a soft shadow: `strength` at the edge, nothing `reach` (B, 1, 1) pixels outside of it."""
    return strength * (1 + distance / reach).clamp(0, 1).square()


def between(numbers: Tensor, low: float, high: float) -> Tensor:
    """Return uniform numbers (B,) moved from 0..1 to low..high, as (B, 1, 1)."""
    return (low + (high - low) * numbers)[:, None, None]


def soft_light(images: Tensor, *, cells: int = 7, strength: float = 0.6) -> Tensor:
    """Return (B, 1, H, W) the coarse light on a face relative to its mean: what a cloth over it is shaded with."""
    luminance = (images.float() * images.new_tensor([0.299, 0.587, 0.114], dtype=torch.float32)[:, None, None]).sum(
        1, keepdim=True
    )
    coarse = F.adaptive_avg_pool2d(luminance, cells)
    relative = (coarse + 20) / (coarse.mean((2, 3), keepdim=True) + 20)
    smooth = F.interpolate(relative, images.shape[2:], mode="bilinear", align_corners=False)
    return 1 + strength * (smooth.clamp(0.4, 1.6) - 1)
