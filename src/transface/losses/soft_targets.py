"""Soft targets: a student follows the probabilities of a teacher, softened by a temperature; and age distributions.

Hinton et al., arXiv 1503.02531; label distributions of ages: Gao et al., IJCAI 2018. Every function gives one number an
image.
Shapes: B images, C classes, K whole ages from 0 on.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_target_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Return (B,) T^2 KL(softmax(teacher / T) || softmax(student / T)); no gradient reaches the teacher.

    T^2 keeps the size of the gradient about the same for any temperature.

    Args:
        student_logits, teacher_logits: (B, C).

    Raises:
        ValueError: for shapes that differ, or a temperature that is not positive.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> soft_target_divergence(logits, logits).tolist()
        [0.0]
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student and teacher must answer alike, got logits {tuple(student_logits.shape)} and"
            f" {tuple(teacher_logits.shape)}"
        )
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(-1)


def age_distribution(ages: Tensor, num_ages: int, spread: float = 2.0) -> Tensor:
    """Return (B, K) the probabilities of whole ages 0 .. K - 1 about ages (B,) in years: a normal curve, `spread` wide,
    summing to 1.
    """
    whole = torch.arange(num_ages, device=ages.device, dtype=ages.dtype)
    return torch.softmax(-0.5 * ((whole - ages[:, None]) / spread).square(), dim=1)


def expected_age(logits: Tensor) -> Tensor:
    """Return (B,) the mean age in years of logits (B, K) of whole ages."""
    whole = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype)
    return (logits.softmax(1) * whole).sum(1)


def age_interval(logits: Tensor, level: float = 0.9) -> Tensor:
    """Return (B, 2) the lowest and highest age between which a distribution (B, K) holds `level` of its weight, as much
    cut off on each side.
    """
    below = logits.softmax(1).cumsum(1)
    tail = (1 - level) / 2
    return (
        torch.stack([(below < tail).sum(1), (below < 1 - tail).sum(1)], 1)
        .clamp_max(logits.shape[1] - 1)
        .to(logits.dtype)
    )


def age_distribution_loss(logits: Tensor, ages: Tensor, *, spread: float = 2.0, value_weight: float = 0.1) -> Tensor:
    """Return (B,) the cross-entropy of logits (B, K) with the distribution about the true age, and the error of their
    mean in years.
    """
    wanted = age_distribution(ages, logits.shape[1], spread)
    cross_entropy = -(wanted * F.log_softmax(logits, dim=1)).sum(1)
    return cross_entropy + value_weight * (expected_age(logits) - ages).abs()
