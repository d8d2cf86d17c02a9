"""CurricularFace: hard other classes weigh little early in training and much later.

CurricularFace (CVPR 2020, arXiv 2004.00288). logit_y = s cos(theta_y + m); for others, with c = cos(theta_j):
s c where c <= cos(theta_y + m), and s c (t + c) where it is above, a hard one. t is the running mean of the target
cosines, from 0.
Shapes: B faces, C classes.
"""

import torch
from torch import Tensor, nn

from transface.margins.angles import add_angle, cosine_of_sum
from transface.margins.margin import check_margin, check_settings, filter_others, join_logits


class CurricularFace(nn.Module):
    """Logits with an angular margin on the own class and a curriculum on the hard others.

    Args:
        scale: s.
        margin_radians: m.
        momentum: weight of the new batch in t.
        filter_threshold: cosines of other classes above it are set to 0, or None.

    Raises:
        ValueError: if a setting is out of range.
    """

    stage: Tensor
    loss_ceiling: float | None = None

    def __init__(
        self,
        scale: float = 64.0,
        margin_radians: float = 0.5,
        *,
        momentum: float = 0.01,
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_settings(scale, filter_threshold)
        check_margin(margin_radians, name="margin_radians")
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, got {momentum}")
        self.scale, self.margin_radians, self.momentum, self.filter_threshold = (
            scale,
            margin_radians,
            momentum,
            filter_threshold,
        )
        self.register_buffer("stage", torch.zeros(()))

    @torch.no_grad()
    def update(self, target_cosines: Tensor, norms: Tensor) -> None:
        """Move t by the mean of the target cosines (B,) of the whole batch; one without faces moves nothing."""
        if len(target_cosines):
            self.stage.lerp_(target_cosines.to(self.stage).mean(), self.momentum)

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return s cos(theta + m) (B,), monotonic beyond pi as in ArcFace."""
        return self.scale * add_angle(target_cosines, self.margin_radians)

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return s c for easy classes and s c (t + c) for hard ones (B, C), filtered."""
        kept = filter_others(cosines, self.filter_threshold)
        hard = kept > cosine_of_sum(target_cosines, self.margin_radians)[:, None]
        return self.scale * torch.where(hard, kept * (self.stage.to(kept.dtype) + kept), kept)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits (B, C); in training t moves first."""
        if norms is None:
            norms = cosines.new_ones(len(cosines))
        return join_logits(self, cosines, labels=labels, norms=norms)
