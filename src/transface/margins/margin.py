"""The contract of a margin, and how its two parts, target and others, join into logits.

A margin is an nn.Module with two elementwise parts, so that a classifier can walk the classes in chunks. Both return
scaled logits.
Shapes: B faces, C classes.
"""

import math
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn


class Margin(Protocol):
    """What every margin offers.

    Attributes:
        scale: s, the factor on cosines.
        loss_ceiling: the highest value a per-sample loss is reported with, its gradient untouched, or None.
        training: whether running statistics may move (an nn.Module's own flag).
    """

    scale: float
    loss_ceiling: float | None
    training: bool

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None) -> Tensor:
        """Return the logits (B,) of the own classes from their cosines (B,) and the embedding norms (B,)."""
        ...

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return the logits (B, C) of the other classes; target_cosines (B,) are seen as constants. Elementwise in
        C.
        """
        ...


@runtime_checkable
class TracksBatches(Protocol):
    """A margin with running statistics: a classifier calls update once a training step, with the batch of all ranks,
    before the logits.
    """

    def update(self, target_cosines: Tensor, norms: Tensor) -> None:
        """Move the running statistics by target_cosines (B,) and embedding norms (B,), without a gradient."""
        ...


@runtime_checkable
class RegularisesNorms(Protocol):
    """A margin with a loss of its own on the embedding norms, which the classifier adds to the per-sample losses."""

    def regulariser(self, norms: Tensor) -> Tensor:
        """Return the weighted regulariser (B,) of embedding norms (B,)."""
        ...


@runtime_checkable
class CombinesTerms(Protocol):
    """A margin whose loss is not the softmax's: it makes the loss of the own class's logit and of what is summed over
    the others.
    """

    def combine(self, target_logits: Tensor, others_logsumexp: Tensor) -> Tensor:
        """Return the losses (B,) of the target logits (B,) and the log-sum-exp (B,) of the other logits."""
        ...


def learned_parameters(margin: Margin) -> list[nn.Parameter]:
    """Return what a margin learns itself; its other logits must depend on every one of them."""
    return [parameter for parameter in cast(nn.Module, margin).parameters() if parameter.requires_grad]


def join_logits(margin: Margin, cosines: Tensor, *, labels: Tensor, norms: Tensor | None) -> Tensor:
    """Return the logits (B, C) of a margin from cosines (B, C) and labels (B,): the whole matrix at once, for small C
    and for tests.
    """
    target_cosines = cosines.gather(1, labels[:, None]).squeeze(1)
    if margin.training and isinstance(margin, TracksBatches):
        margin.update(target_cosines.detach(), require_norms(norms).detach())
    target_logits = margin.target_logits(target_cosines, norms)
    others = margin.other_logits(cosines, target_cosines.detach())
    return others.scatter(1, labels[:, None], target_logits[:, None].to(others.dtype))


def require_norms(norms: Tensor | None) -> Tensor:
    """Return the norms, or say that this margin cannot do without.

    Raises:
        ValueError: if norms is None.
    """
    if norms is None:
        raise ValueError("this margin needs the embedding norms (B,), got None: pass embeddings.norm(dim=1)")
    return norms


def filter_others(cosines: Tensor, threshold: float | None) -> Tensor:
    """Return cosines of other classes with those above the threshold set to 0 (inter-class filtering, for noisy
    labels); None keeps all.
    """
    if threshold is None:
        return cosines
    return torch.where(cosines > threshold, torch.zeros_like(cosines), cosines)


# The released code reads the target's probability no lower than 1e-30, in the loss's value alone: its gradient remains.
RELEASED_CEILING = -math.log(1e-30)


def loss_ceiling(gradient: str) -> float | None:
    """Return the highest loss reported: 69.08 in the released way, none else."""
    return RELEASED_CEILING if gradient == "straight_through" else None


def check_margin(value: float, *, name: str, below: float = math.pi) -> None:
    """Raise ValueError where a margin, in radians unless `below` says otherwise, is negative or too large."""
    if not 0 <= value < below:
        raise ValueError(f"{name} must be at least 0 and below {below:.4g}, got {value}")


def check_settings(scale: float, filter_threshold: float | None, *, gradient: str = "exact") -> None:
    """Raise where a setting shared by all margins is out of its range.

    Raises:
        ValueError: naming the setting, what is expected and what came.
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be above 0 and finite, got {scale}")
    if filter_threshold is not None and not 0 < filter_threshold < 1:
        raise ValueError(
            f"filter_threshold must lie between 0 and 1, or be null for no filtering, got {filter_threshold}"
        )
    if gradient not in ("exact", "straight_through"):
        raise ValueError(f"gradient must be 'exact' or 'straight_through', got {gradient!r}")
