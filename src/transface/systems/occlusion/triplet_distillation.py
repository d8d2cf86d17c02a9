"""Triplet distillation: a student's occluded face comes near to the teacher's whole face of its class, and away from
other classes.

Georgescu & Ionescu, arXiv 2008.01003: anchor = student (occluded), positive = teacher (clean), negative = student
(occluded, other class). Details, deviations, tests: docs/papers/occlusion.md. Shapes: B images, E embedding size, T
triplets.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Positive = Literal["self", "class", "mixed"]
Negative = Literal["semi_hard", "hardest"]


class Relations(NamedTuple):
    """Which images of a batch belong together: (B, B) bool each; pairs in neither are left out."""

    same: Tensor
    different: Tensor


class Triplets(NamedTuple):
    """Chosen triplets of a batch, one an anchor.

    Attributes:
        positives: (B,) whose whole face the teacher shows.
        negatives: (B,) of another class.
        valid: (B,) bool: whether the batch holds a positive and a negative for this anchor.
    """

    positives: Tensor
    negatives: Tensor
    valid: Tensor


def triplet_distillation_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Return (T,) max(0, |anchor - positive|^2 - |anchor - negative|^2 + margin).

    The gradient reaches anchor and negative, both the student's; none reaches the positive, the teacher's.

    Args:
        anchor, positive, negative: (T, E), normalised or not.

    Raises:
        ValueError: for shapes that differ.

    Example:
        >>> a, p, n = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]])
        >>> triplet_distillation_loss(a, p, n, margin=0.5).tolist()
        [0.5]
    """
    if not anchor.shape == positive.shape == negative.shape:
        raise ValueError(
            f"a triplet's parts must have one shape (T, E), got {tuple(anchor.shape)}, {tuple(positive.shape)},"
            f" {tuple(negative.shape)}"
        )
    near = (anchor - positive.detach()).square().sum(-1)
    far = (anchor - negative).square().sum(-1)
    return (near - far + margin).clamp_min(0)


def class_relations(classes: Tensor) -> Relations:
    """Return the relations of classes (B,); images of a class below 0 (unknown) belong to nothing."""
    known = (classes >= 0)[:, None] & (classes >= 0)[None]
    equal = classes[:, None] == classes[None]
    return Relations(equal & known, ~equal & known)


def age_relations(ages: Tensor, *, same_within: float = 3.0, different_from: float = 10.0) -> Relations:
    """Return the relations of ages (B,) in years: alike within a few years, different from a decade on, in between
    neither; NaN belongs to nothing.
    """
    gap = (ages[:, None] - ages[None]).abs()
    return Relations(gap <= same_within, gap >= different_from)


def choose_triplets(
    student: Tensor,
    teacher: Tensor,
    relations: Relations,
    *,
    margin: float,
    positive: Positive = "mixed",
    negative: Negative = "semi_hard",
    generator: torch.Generator | None = None,
) -> Triplets:
    """Return one triplet an anchor, chosen without gradient.

    Args:
        student, teacher: (B, E) embeddings of the occluded and of the whole faces.
        positive: "self": the same face unoccluded; "class": any face of the class, at random; "mixed": either, at
            random.
        negative: "semi_hard": the nearest one that is farther than the positive and inside the margin, else the
            nearest; "hardest": the nearest.
        generator: of the random positives.

    Raises:
        ValueError: for another kind of positive or negative.
    """
    if positive not in ("self", "class", "mixed") or negative not in ("semi_hard", "hardest"):
        raise ValueError(
            f"positive must be self, class or mixed and negative semi_hard or hardest, got {positive!r} and"
            f" {negative!r}"
        )
    with torch.no_grad():
        student, teacher = student.detach(), teacher.detach()
        positives = _positives(relations.same, positive, generator)
        near = (student - teacher[positives]).square().sum(1)
        apart = torch.cdist(student.float(), student.float()).square().masked_fill(~relations.different, float("inf"))
        negatives = apart.argmin(1)
        if negative == "semi_hard":
            wanted = (apart > near[:, None]) & (apart < near[:, None] + margin)
            semi_hard = apart.masked_fill(~wanted, float("inf"))
            negatives = torch.where(wanted.any(1), semi_hard.argmin(1), negatives)
        valid = relations.different.any(1) & relations.same.any(1)
    return Triplets(positives, negatives, valid)


def _positives(same: Tensor, positive: Positive, generator: torch.Generator | None) -> Tensor:
    own = torch.arange(len(same), device=same.device)
    if positive == "self":
        return own
    device = same.device if generator is None else generator.device
    draws = torch.rand(len(same), len(same) + 1, generator=generator, device=device).to(same.device)
    found = draws[:, 1:].masked_fill(~same, -1).argmax(1)
    found = torch.where(same.any(1), found, own)
    return found if positive == "class" else torch.where(draws[:, 0] < 0.5, own, found)


def chosen_loss(student: Tensor, teacher: Tensor, triplets: Triplets, margin: float) -> Tensor:
    """Return the mean loss over the valid triplets of a batch; 0 with a gradient of 0 where there are none."""
    losses = triplet_distillation_loss(student, teacher[triplets.positives], student[triplets.negatives], margin)
    valid = triplets.valid.to(losses.dtype)
    return (losses * valid).sum() / valid.sum().clamp_min(1)
