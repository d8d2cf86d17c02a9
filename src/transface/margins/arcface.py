"""ArcFace: the angle to the own class is made harder by m before the softmax.

ArcFace (CVPR 2019, arXiv 1801.07698). logit_y = s cos(theta_y + m), logit_j = s cos(theta_j).
Shapes: B faces, C classes.
"""

from typing import Literal

from torch import Tensor, nn

from transface.margins.angles import add_angle, cosine_of_sum, straight_through
from transface.margins.margin import check_margin, check_settings, filter_others, join_logits, loss_ceiling


class ArcFace(nn.Module):
    """Logits with an additive angular margin.

    Args:
        scale: s.
        margin_radians: m.
        gradient: "exact" is the true derivative, monotonic beyond theta + m > pi, where the logit is s (cos(theta) - m
            sin(m)); "straight_through" is what the released TransFace does: cos(theta + m) everywhere, with the
            derivative s of no margin at all, and per-sample losses reported up to 69.08 (-log 1e-30) only, while their
            gradient remains.
        filter_threshold: cosines of other classes above it are set to 0, or None.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(
        self,
        scale: float = 64.0,
        margin_radians: float = 0.5,
        *,
        gradient: Literal["exact", "straight_through"] = "exact",
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_settings(scale, filter_threshold, gradient=gradient)
        check_margin(margin_radians, name="margin_radians")
        self.scale, self.margin_radians, self.gradient, self.filter_threshold = (
            scale,
            margin_radians,
            gradient,
            filter_threshold,
        )
        self.loss_ceiling = loss_ceiling(gradient)

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return s cos(theta + m) (B,)."""
        if self.gradient == "straight_through":
            return self.scale * straight_through(target_cosines, cosine_of_sum(target_cosines, self.margin_radians))
        return self.scale * add_angle(target_cosines, self.margin_radians)

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return s cos(theta_j) (B, C), filtered."""
        return self.scale * filter_others(cosines, self.filter_threshold)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits (B, C)."""
        return join_logits(self, cosines, labels=labels, norms=norms)
