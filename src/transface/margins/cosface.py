"""CosFace: the cosine to the own class is lowered by m before the softmax.

CosFace (CVPR 2018, arXiv 1801.09414). logit_y = s (cos(theta_y) - m), logit_j = s cos(theta_j).
Shapes: B faces, C classes.
"""

from typing import Literal

from torch import Tensor, nn

from transface.margins.margin import check_margin, check_settings, filter_others, join_logits, loss_ceiling


class CosFace(nn.Module):
    """Logits with an additive cosine margin.

    Args:
        scale: s.
        margin: m, in cosine.
        gradient: the two ways of ArcFace. Logits and derivatives are the same; "straight_through" adds the released
            ceiling of losses.
        filter_threshold: cosines of other classes above it are set to 0, or None.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(
        self,
        scale: float = 64.0,
        margin: float = 0.4,
        *,
        gradient: Literal["exact", "straight_through"] = "exact",
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_settings(scale, filter_threshold, gradient=gradient)
        check_margin(margin, name="margin", below=2)
        self.scale, self.margin, self.gradient, self.filter_threshold = scale, margin, gradient, filter_threshold
        self.loss_ceiling = loss_ceiling(gradient)

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return s (cos(theta) - m) (B,)."""
        return self.scale * (target_cosines - self.margin)

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return s cos(theta_j) (B, C), filtered."""
        return self.scale * filter_others(cosines, self.filter_threshold)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits (B, C)."""
        return join_logits(self, cosines, labels=labels, norms=norms)
