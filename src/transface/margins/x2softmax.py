"""X2-Softmax: the own class's logit is a parabola of the angle, so that the margin grows with the angle to the other
classes.

X2-Softmax (arXiv 2312.05281). logit_y = s (a (theta_y - h)^2 + k), logit_j = s cos(theta_j).
Shapes: B faces, C classes.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from transface.margins.angles import straight_through
from transface.margins.margin import check_settings, filter_others, join_logits


def parabola_of_angle(cosines: Tensor, curvature: float, *, vertex_radians: float, height: float) -> Tensor:
    """Return a (theta - h)^2 + k of cos(theta), elementwise; the angle is taken one rounding off 0 and pi, where its
    derivative ends.
    """
    edge = 1 - torch.finfo(cosines.dtype).eps
    return curvature * (torch.acos(cosines.clamp(-edge, edge)) - vertex_radians) ** 2 + height


class X2Softmax(nn.Module):
    """Logits whose own class follows a parabola of the angle.

    Args:
        scale: s.
        curvature: a, below 0.
        vertex_radians: h, in 0..pi.
        height: k, the largest own logit over s, at most 1.
        gradient: "exact" is the true derivative -2 a (theta - h) / sin(theta); "straight_through" is the released one,
            s.
        filter_threshold: cosines of other classes above it are set to 0, or None.

    Raises:
        ValueError: if a setting is out of range.
    """

    loss_ceiling: float | None = None

    def __init__(
        self,
        scale: float = 64.0,
        curvature: float = -0.9,
        *,
        vertex_radians: float = 0.0,
        height: float = 0.65,
        gradient: Literal["exact", "straight_through"] = "exact",
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_settings(scale, filter_threshold, gradient=gradient)
        if not -math.inf < curvature < 0:
            raise ValueError(f"curvature must be below 0 and finite, got {curvature}")
        if not 0 <= vertex_radians <= math.pi:
            raise ValueError(f"vertex_radians must be in 0..pi, got {vertex_radians}")
        if not -math.inf < height <= 1:
            raise ValueError(f"height must be at most 1 and finite, got {height}")
        self.scale = scale
        self.curvature = curvature
        self.vertex_radians = vertex_radians
        self.height = height
        self.gradient = gradient
        self.filter_threshold = filter_threshold

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return s (a (theta - h)^2 + k) (B,)."""
        moved = parabola_of_angle(
            target_cosines, self.curvature, vertex_radians=self.vertex_radians, height=self.height
        )
        return self.scale * (straight_through(target_cosines, moved) if self.gradient == "straight_through" else moved)

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return s cos(theta_j) (B, C), filtered."""
        return self.scale * filter_others(cosines, self.filter_threshold)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits (B, C)."""
        return join_logits(self, cosines, labels=labels, norms=norms)
