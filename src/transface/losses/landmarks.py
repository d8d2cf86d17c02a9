"""Losses of landmarks: heat maps of cut Gaussians with cross-entropy, and distances of points.

Shapes: B images, P points, H x W cells of a heat map. Points are x and y in 0..1 of the image.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def cut_gaussians(points: Tensor, size: tuple[int, int], radius: float = 5.0) -> Tensor:
    """Return heat maps (B, P, H, W) of points (B, P, 2): exp(-8 r^2 / radius^2) within `radius` cells, 0 beyond.

    A Gaussian of sigma radius / 4 (Faceptor's, 1.25 cells). A point outside still shows the part of its disc that is
    inside.

    Raises:
        ValueError: for a radius that is not positive.
    """
    if not radius > 0:
        raise ValueError(f"radius of a heat map must be positive, got {radius}")
    height, width = size
    columns = torch.arange(width, dtype=points.dtype, device=points.device)
    rows = torch.arange(height, dtype=points.dtype, device=points.device)
    x = columns - (points[..., :1] * width - 0.5)
    y = rows - (points[..., 1:] * height - 0.5)
    squared = y[..., :, None] ** 2 + x[..., None, :] ** 2
    return torch.exp(-8 * squared / radius**2) * (squared <= radius**2)


def heatmap_cross_entropy(
    logits: Tensor, points: Tensor, *, size: tuple[int, int] = (128, 128), radius: float = 5.0
) -> Tensor:
    """Return the mean cross-entropy of heat map logits (B, P, h, w), resized to `size`, against the cut Gaussians of
    points (B, P, 2).
    """
    if tuple(logits.shape[-2:]) != size:
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    return F.binary_cross_entropy_with_logits(logits, cut_gaussians(points, size, radius))


def heatmap_likelihood(logits: Tensor, points: Tensor, *, radius: float = 5.0) -> Tensor:
    """Return the mean cross-entropy of the softmax over the cells of heat map logits (B, P, H, W) against the cut
    Gaussians of points (B, P, 2), each with a sum of 1; a point whose disc lies outside costs nothing.
    """
    heat = cut_gaussians(points, (int(logits.shape[-2]), int(logits.shape[-1])), radius).flatten(-2)
    shares = heat / heat.sum(-1, keepdim=True).clamp_min(1e-6)
    return -(shares * logits.flatten(-2).log_softmax(-1)).sum(-1).mean()


def point_distance(predicted: Tensor, points: Tensor) -> Tensor:
    """Return the mean Euclidean distance of points (B, P, 2)."""
    return torch.linalg.vector_norm(predicted - points, dim=-1).mean()
