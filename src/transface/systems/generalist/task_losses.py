"""The loss of each kind of task, from its logits and targets, and the weighted mean over tasks.

Faceptor (ECCV 2024) section 3.4 and its released code. Shapes: B images, Q outputs of a task.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from transface.losses.ages import distribution_divergence, mean_year_error
from transface.losses.landmarks import heatmap_cross_entropy, heatmap_likelihood, point_distance
from transface.losses.regions import region_cross_entropy
from transface.systems.generalist.decoder.interpreters import POINT_READERS


def age_loss(logits: Tensor, ages: Tensor) -> Tensor:
    """Return the loss of age logits (B, Q) for ages (B,) in years."""
    return distribution_divergence(logits, ages) + mean_year_error(logits, ages)


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of logits (B, Q) for labels of 0, 1 and -1 (unknown): summed over attributes, mean over
    images.
    """
    entries = F.binary_cross_entropy_with_logits(logits, labels.clamp_min(0).to(logits.dtype), reduction="none")
    return (entries * (labels >= 0)).sum() / len(logits)


def expression_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of logits (B, Q) for labels (B,)."""
    return F.cross_entropy(logits, labels.long())


def parsing_loss(maps: Tensor, regions: Tensor, *, region_balance: float = 0.0) -> Tensor:
    """Return the cross-entropy of maps (B, Q, h, w), resized to the size of regions (B, H, W), mean over pixels; see
    losses/regions.py for `region_balance`.
    """
    size = (regions.shape[1], regions.shape[2])
    if tuple(maps.shape[2:]) != size:
        maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    return region_cross_entropy(maps, regions, balance=region_balance)


def landmark_loss(
    maps: Tensor,
    points: Tensor,
    *,
    size: tuple[int, int] = (128, 128),
    radius: float = 5.0,
    heat_weight: float = 1.0,
    reader: str = "sigmoid",
) -> Tensor:
    """Return the distance of the points of maps (B, Q, h, w) to points (B, Q, 2) in 0..1, plus `heat_weight` times the
    heat maps' cross-entropy: of each cell alone at `size`, or with the reader "softmax" over the cells of the maps.
    """
    if reader == "softmax":
        heat = heatmap_likelihood(maps, points, radius=radius)
    else:
        heat = heatmap_cross_entropy(maps, points, size=size, radius=radius)
    return point_distance(POINT_READERS[reader](maps), points) + heat_weight * heat


TASK_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "age": age_loss,
    "attributes": attribute_loss,
    "expression": expression_loss,
    "parsing": parsing_loss,
    "landmarks": landmark_loss,
}


def weighted_mean(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the mean of the losses by weight.

    Raises:
        ValueError: if a loss has no weight.
    """
    missing = losses.keys() - weights.keys()
    if missing:
        raise ValueError(f"no weight for the losses {', '.join(sorted(missing))}")
    total = sum(weights[name] for name in losses)
    return torch.stack([weights[name] / total * loss for name, loss in losses.items()]).sum()
