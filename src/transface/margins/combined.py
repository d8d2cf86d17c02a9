"""The combined margin of SphereFace, ArcFace and CosFace: cos(m1 theta + m2) - m3.

ArcFace (CVPR 2019, arXiv 1801.07698), section on the unified margin. logit_y = s (cos(m1 theta_y + m2) - m3), logit_j =
s cos(theta_j).
Shapes: B faces, C classes.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from transface.margins.angles import add_angle, cosine_of_sum, straight_through
from transface.margins.margin import check_margin, check_settings, filter_others, join_logits, loss_ceiling


def combined_cosines(cosines: Tensor, m1: float, m2: float) -> Tensor:
    """Return cos(m1 theta + m2) of cos(theta), elementwise, with no guard beyond pi."""
    if m1 == 1:
        return cosine_of_sum(cosines, m2)
    edge = 1 - torch.finfo(cosines.dtype).eps
    return torch.cos(m1 * torch.acos(cosines.clamp(-edge, edge)) + m2)


def combined_monotonic(cosines: Tensor, m1: float, m2: float) -> Tensor:
    """Return cos(m1 theta + m2) up to pi, and a fall with theta beyond.

    Beyond: cos(theta) - m2 sin(m2) for m1 = 1, as in ArcFace; else cos(theta) shifted so that it joins at -1.
    """
    if m1 == 1:
        return add_angle(cosines, m2)
    turn = math.cos((math.pi - m2) / m1) if (math.pi - m2) / m1 < math.pi else -1.0
    return torch.where(cosines >= turn, combined_cosines(cosines, m1, m2), cosines - turn - 1)


class CombinedMargin(nn.Module):
    """Logits with the margins m1 (times the angle), m2 (plus, in radians) and m3 (minus, in cosine).

    Args:
        scale: s.
        m1: factor on the angle, at least 1.
        m2: angle added, in radians, in 0..pi.
        m3: cosine taken off.
        gradient: "exact" or "straight_through" as in ArcFace (m3 has the derivative s in both).
        beyond_pi: where m1 theta + m2 exceeds pi, with the exact gradient: "monotonic" keeps falling with theta,
            "released" is the cosine, which rises again.
        filter_threshold: cosines of other classes above it are set to 0, or None.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(
        self,
        scale: float = 64.0,
        m1: float = 1.0,
        *,
        m2: float = 0.3,
        m3: float = 0.2,
        gradient: Literal["exact", "straight_through"] = "exact",
        beyond_pi: Literal["monotonic", "released"] = "monotonic",
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_settings(scale, filter_threshold, gradient=gradient)
        check_margin(m2, name="m2")
        check_margin(m3, name="m3", below=2)
        if not 1 <= m1 < math.inf:
            raise ValueError(f"m1 must be at least 1 and finite, got m1={m1}")
        self.scale, self.m1, self.m2, self.m3 = scale, m1, m2, m3
        if beyond_pi not in ("monotonic", "released"):
            raise ValueError(f"beyond_pi must be 'monotonic' or 'released', got {beyond_pi!r}")
        self.beyond_pi = beyond_pi
        self.gradient, self.filter_threshold = gradient, filter_threshold
        self.loss_ceiling = loss_ceiling(gradient)

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return s (cos(m1 theta + m2) - m3) (B,)."""
        if self.gradient == "straight_through":
            moved = straight_through(target_cosines, combined_cosines(target_cosines, self.m1, self.m2))
        elif self.beyond_pi == "released":
            moved = combined_cosines(target_cosines, self.m1, self.m2)
        else:
            moved = combined_monotonic(target_cosines, self.m1, self.m2)
        return self.scale * (moved - self.m3)

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return s cos(theta_j) (B, C), filtered."""
        return self.scale * filter_others(cosines, self.filter_threshold)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits (B, C)."""
        return join_logits(self, cosines, labels=labels, norms=norms)
