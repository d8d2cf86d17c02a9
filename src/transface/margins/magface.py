"""MagFace: the angular margin grows with the embedding's norm, and a regulariser asks for large norms.

MagFace (CVPR 2021, arXiv 2103.06627). With a = |e| kept in [l_a, u_a]: m(a) = l_m + (u_m - l_m) (a - l_a) / (u_a -
l_a); logit_y = s cos(theta_y + m(a)), logit_j = s cos(theta_j); regulariser lambda_g (1/a + a/u_a^2).
Shapes: B faces, C classes.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from transface.margins.angles import add_angle
from transface.margins.margin import check_margin, check_settings, filter_others, join_logits, require_norms


class MagFace(nn.Module):
    """Logits with a margin that grows with the norm. The gradient reaches the norms, through margin and regulariser.

    Args:
        scale: s.
        lowest_norm: l_a.
        highest_norm: u_a.
        lowest_margin_radians: l_m.
        highest_margin_radians: u_m.
        regulariser_weight: lambda_g.
        applies_to: the samples that get the margin: "all", or "positive_cosines" (the "easy margin" of the released
            configuration), which leaves the logit s cos(theta) where the own cosine is not above 0.
        filter_threshold: cosines of other classes above it are set to 0, or None.

    Raises:
        ValueError: if a setting is out of range.
    """

    loss_ceiling: float | None = None

    def __init__(
        self,
        scale: float = 64.0,
        lowest_norm: float = 10.0,
        *,
        highest_norm: float = 110.0,
        lowest_margin_radians: float = 0.45,
        highest_margin_radians: float = 0.8,
        regulariser_weight: float = 35.0,
        applies_to: Literal["all", "positive_cosines"] = "all",
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_settings(scale, filter_threshold)
        if not 0 < lowest_norm < highest_norm < math.inf:
            raise ValueError(
                f"norms must be finite and 0 < lowest_norm < highest_norm, got {lowest_norm} and {highest_norm}"
            )
        check_margin(lowest_margin_radians, name="lowest_margin_radians")
        check_margin(highest_margin_radians, name="highest_margin_radians")
        if highest_margin_radians < lowest_margin_radians or not 0 <= regulariser_weight < math.inf:
            got = f"{lowest_margin_radians} and {highest_margin_radians}, {regulariser_weight}"
            raise ValueError(
                f"margins must grow with the norm and regulariser_weight must be finite and at least 0, got {got}"
            )
        if applies_to not in ("all", "positive_cosines"):
            raise ValueError(f"applies_to must be 'all' or 'positive_cosines', got {applies_to!r}")
        self.applies_to = applies_to
        self.scale, self.lowest_norm, self.highest_norm = scale, lowest_norm, highest_norm
        self.lowest_margin_radians, self.highest_margin_radians = lowest_margin_radians, highest_margin_radians
        self.regulariser_weight, self.filter_threshold = regulariser_weight, filter_threshold

    def margins(self, norms: Tensor) -> Tensor:
        """Return m(a) (B,) in radians."""
        slope = (self.highest_margin_radians - self.lowest_margin_radians) / (self.highest_norm - self.lowest_norm)
        return self.lowest_margin_radians + slope * (
            norms.clamp(self.lowest_norm, self.highest_norm) - self.lowest_norm
        )

    def regulariser(self, norms: Tensor) -> Tensor:
        """Return lambda_g (1/a + a/u_a^2) (B,), least at a = u_a."""
        kept = norms.clamp(self.lowest_norm, self.highest_norm)
        return self.regulariser_weight * (1 / kept + kept / self.highest_norm**2)

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None) -> Tensor:
        """Return s cos(theta + m(a)) (B,), monotonic beyond pi as in ArcFace."""
        moved = add_angle(target_cosines, self.margins(require_norms(norms).to(target_cosines.dtype)))
        if self.applies_to == "positive_cosines":
            moved = torch.where(target_cosines > 0, moved, target_cosines)
        return self.scale * moved

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return s cos(theta_j) (B, C), filtered."""
        return self.scale * filter_others(cosines, self.filter_threshold)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits (B, C), without the regulariser."""
        return join_logits(self, cosines, labels=labels, norms=norms)
