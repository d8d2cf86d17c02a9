"""Losses by which a teacher's answers teach a student: Bernoulli KL of logits, distance of tokens, KL of attention.

Every function gives one number per entry or per row, so that a caller may weight or mask them; `bernoulli_kl` is the
mean.
Shapes: B images, D token width, N patches, * any further axes.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

TeacherGradient = Literal["none", "full"]
TokenDistance = Literal["cosine", "mse_ln", "smooth_l1"]


def bernoulli_kl(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float = 1.0,
    *,
    teacher_gradient: TeacherGradient = "none",
) -> Tensor:
    """Return the KL divergence of independent yes/no answers: the mean over all entries, times the temperature squared.

    Args:
        teacher_logits: any shape; no gradient reaches them unless `teacher_gradient` says so.
        student_logits: the same shape.
        temperature: divides both logits; above 1 softens them.
        teacher_gradient: "none" stops the gradient at the teacher; "full" is an ablation.

    Raises:
        ValueError: for shapes that differ, or a temperature that is not positive and finite.

    Example:
        >>> round(float(bernoulli_kl(torch.tensor([2.0]), torch.tensor([0.0]), temperature=1.0)), 4)
        0.3279
    """
    return bernoulli_divergence(teacher_logits, student_logits, temperature, teacher_gradient=teacher_gradient).mean()


def bernoulli_divergence(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float = 1.0,
    *,
    teacher_gradient: TeacherGradient = "none",
) -> Tensor:
    """Return tau^2 [p log(p/q) + (1-p) log((1-p)/(1-q))] of every entry, p = sigmoid(teacher/tau), q =
    sigmoid(student/tau).

    As tau grows it approaches (teacher - student)^2 / 8. Arguments and errors as of `bernoulli_kl`.
    """
    if teacher_logits.shape != student_logits.shape:
        raise ValueError(
            f"teacher and student must have one shape, got {tuple(teacher_logits.shape)} and"
            f" {tuple(student_logits.shape)}"
        )
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    teacher = _teacher(teacher_logits, teacher_gradient) / temperature
    student = student_logits / temperature
    # log(p) and log(1 - p) by logsigmoid: finite at logits of any size, where p itself rounds to 0 or 1.
    present = teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
    absent = (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return temperature**2 * (present + absent)


def token_distance(
    teacher: Tensor, student: Tensor, kind: TokenDistance = "cosine", *, teacher_gradient: TeacherGradient = "none"
) -> Tensor:
    """Return the distance (*) of tokens (*, D): 1 - cosine, or the mean over D of a difference.

    Args:
        kind: "cosine"; "mse_ln": squared difference after a layer norm without parameters; "smooth_l1": Huber's, of the
            tokens as they are.

    Raises:
        ValueError: for shapes that differ, or another word.
    """
    if teacher.shape != student.shape:
        raise ValueError(f"tokens must have one shape, got {tuple(teacher.shape)} and {tuple(student.shape)}")
    teacher = _teacher(teacher, teacher_gradient)
    if kind == "cosine":
        return 1 - F.cosine_similarity(student, teacher, dim=-1)
    if kind == "mse_ln":
        width = teacher.shape[-1:]
        return (F.layer_norm(student, width) - F.layer_norm(teacher, width)).square().mean(-1)
    if kind == "smooth_l1":
        return F.smooth_l1_loss(student, teacher, reduction="none").mean(-1)
    raise ValueError(f"token distance must be 'cosine', 'mse_ln' or 'smooth_l1', got {kind!r}")


def attention_kl(teacher: Tensor, student: Tensor, *, teacher_gradient: TeacherGradient = "none") -> Tensor:
    """Return the KL divergence (*) of attention over patches (*, N); both are made to sum to one first.

    Raises:
        ValueError: for shapes that differ.
    """
    if teacher.shape != student.shape:
        raise ValueError(f"attention must have one shape, got {tuple(teacher.shape)} and {tuple(student.shape)}")
    tiny = torch.finfo(student.dtype).tiny
    p, q = (x / x.sum(-1, keepdim=True).clamp_min(tiny) for x in (_teacher(teacher, teacher_gradient), student))
    return (p * (p.clamp_min(tiny).log() - q.clamp_min(tiny).log())).sum(-1)


def _teacher(values: Tensor, gradient: TeacherGradient) -> Tensor:
    if gradient not in ("none", "full"):
        raise ValueError(f"teacher_gradient must be 'none' or 'full', got {gradient!r}")
    return values.detach() if gradient == "none" else values
