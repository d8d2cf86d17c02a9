"""Adds an angle to the angle of a cosine: cos(theta + m), with a finite derivative and a monotonic continuation.

Shapes: any, elementwise.
"""

import math

import torch
from torch import Tensor


def sines(cosines: Tensor) -> Tensor:
    """Return sin(theta) in [0, 1] of cos(theta), away from 0 by the root of the type's precision, so that its
    derivative stays finite.
    """
    return (1 - cosines * cosines).clamp_min(torch.finfo(cosines.dtype).eps).sqrt()


def cosine_of_sum(cosines: Tensor, radians: float | Tensor) -> Tensor:
    """Return cos(theta + m) of cos(theta); m in radians, a number or elementwise."""
    if isinstance(radians, Tensor):
        return cosines * radians.cos() - sines(cosines) * radians.sin()
    return cosines * math.cos(radians) - sines(cosines) * math.sin(radians)


def add_angle(cosines: Tensor, radians: float | Tensor) -> Tensor:
    """Return cos(theta + m) where theta + m <= pi, and cos(theta) - m sin(m) beyond, which keeps falling with
    theta.
    """
    if isinstance(radians, Tensor):
        turn, drop = -radians.cos(), radians * radians.sin()
        return torch.where(cosines >= turn, cosine_of_sum(cosines, radians), cosines - drop)
    beyond = cosines - radians * math.sin(radians)
    return torch.where(cosines >= -math.cos(radians), cosine_of_sum(cosines, radians), beyond)


def straight_through(cosines: Tensor, values: Tensor) -> Tensor:
    """Return values, with the derivative of cosines: the margin is added without a gradient."""
    return cosines + (values - cosines).detach()
