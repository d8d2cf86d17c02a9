"""A recognition teacher's embeddings teach a student's: by direction, by every entry, by the relations within a batch,
or by telling the teacher's faces apart with a margin.

Relations: Park et al., "Relational Knowledge Distillation", CVPR 2019, with the weights that face trainers use
(distances 25, angles 50). No gradient reaches the teacher. Shapes: B faces, E embedding size.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

EmbeddingLoss = Literal["cosine", "mse", "relational", "margin"]
MARGIN_SCALE, MARGIN = 32.0, 0.3


def cosine_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return (B,) 1 - cos(student, teacher)."""
    return 1 - F.cosine_similarity(student, teacher.detach(), dim=1)


def mse_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return (B,) the mean over the entries of the squared difference of unit embeddings: 2 (1 - cos) / E, so weights
    lie in the hundreds.
    """
    return (F.normalize(student, dim=1) - F.normalize(teacher.detach(), dim=1)).square().mean(1)


def distance_relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return a scalar: Huber loss of all distances within the batch, each side divided by its mean distance; widths may
    differ.
    """
    with torch.no_grad():
        wanted = _relative_distances(F.normalize(teacher, dim=1))
    return F.smooth_l1_loss(_relative_distances(F.normalize(student, dim=1)), wanted)


def angle_relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return a scalar: Huber loss of the cosines of all angles that three faces of the batch make; widths may differ.
    O(B^3) memory.
    """
    with torch.no_grad():
        wanted = _angles(F.normalize(teacher, dim=1))
    return F.smooth_l1_loss(_angles(F.normalize(student, dim=1)), wanted)


def relational_distillation(
    student: Tensor, teacher: Tensor, *, distance_weight: float = 25.0, angle_weight: float = 50.0
) -> Tensor:
    """Return a scalar: the weighted sum of both relation losses; 0 for a batch of one."""
    if len(student) < 2:
        return student.sum() * 0
    return distance_weight * distance_relation_loss(student, teacher) + angle_weight * angle_relation_loss(
        student, teacher
    )


def margin_distillation(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    scale: float = MARGIN_SCALE,
    margin: float = MARGIN,
) -> Tensor:
    """Return (B,) ArcFace's loss with the teacher's embeddings of the batch as class centres, each face its own class.

    The student must find the teacher's embedding of the same face among those of the other faces, an angle of `margin`
    apart; near misses cost more than what is apart already. Faces of one person are not told apart.

    Args:
        labels: (B,) who is on each face, or None: all are different people.
        scale: s, the factor on cosines.
        margin: m, in radians.

    Raises:
        ValueError: for a scale that is not positive or a margin outside [0, pi / 2).
    """
    if not 0 < scale < math.inf or not 0 <= margin < math.pi / 2:
        raise ValueError(
            f"distillation needs a positive scale and a margin in [0, pi / 2), got scale={scale}, margin={margin}"
        )
    cosines = F.normalize(student, dim=1) @ F.normalize(teacher.detach(), dim=1).T
    own = cosines.diagonal()
    # The sine's derivative is not finite at a cosine of 1; beyond pi - m the loss keeps rising, as in ArcFace.
    sines = (1 - own.square()).clamp_min(1e-6).sqrt()
    apart = own * math.cos(margin) - sines * math.sin(margin)
    apart = torch.where(own > -math.cos(margin), apart, own - margin * math.sin(margin))
    logits = scale * torch.where(torch.eye(len(own), dtype=torch.bool, device=own.device), apart[:, None], cosines)
    if labels is not None:
        same = (labels[:, None] == labels[None]) & ~torch.eye(len(own), dtype=torch.bool, device=own.device)
        logits = logits.masked_fill(same, -math.inf)
    return F.cross_entropy(logits, torch.arange(len(own), device=own.device), reduction="none")


def embedding_distillation(
    kind: EmbeddingLoss,
    student: Tensor,
    teacher: Tensor,
    *,
    labels: Tensor | None = None,
    scale: float = MARGIN_SCALE,
    margin: float = MARGIN,
) -> Tensor:
    """Return the mean loss of a batch, a scalar.

    Args:
        student, teacher: (B, E); of "relational" the widths may differ.
        labels, scale, margin: of "margin", see margin_distillation.

    Raises:
        ValueError: for another kind, or widths that differ where they must not.
    """
    if kind not in get_args(EmbeddingLoss):
        raise ValueError(f"kind must be one of {', '.join(get_args(EmbeddingLoss))}, got {kind!r}")
    if kind == "relational":
        return relational_distillation(student, teacher)
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher must have one width, got {tuple(student.shape)} and {tuple(teacher.shape)}: project,"
            " or take kind=relational"
        )
    if kind == "margin":
        return margin_distillation(student, teacher, labels, scale=scale, margin=margin).mean()
    return (cosine_distillation if kind == "cosine" else mse_distillation)(student, teacher).mean()


def _relative_distances(unit: Tensor) -> Tensor:
    # Not cdist: its gradient at equal rows is not finite.
    squares = (2 - 2 * unit @ unit.T).clamp_min(0)
    away = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    distances = torch.where(away, squares + 1e-12, torch.ones_like(squares)).sqrt() * away
    return distances / (distances.sum() / away.sum().clamp_min(1)).clamp_min(1e-12)


def _angles(unit: Tensor) -> Tensor:
    steps = unit[None] - unit[:, None]
    directions = F.normalize(steps, dim=2, eps=1e-6)
    return directions @ directions.mT
