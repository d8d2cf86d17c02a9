"""AdaFace: the margin follows the image quality, read from the embedding's norm.

AdaFace (CVPR 2022, arXiv 2204.00964). z = clip(h (|e| - mean) / std, -1, 1);
logit_y = s (cos(theta_y - m z) - (m + m z)), logit_j = s cos(theta_j).
mean and std are running statistics of the norms. A high norm gets a cosine margin, a low norm an angular one.
Shapes: B faces, C classes.
"""

import math

import torch
from torch import Tensor, nn

from transface.margins.margin import check_margin, check_settings, filter_others, join_logits, require_norms


class AdaFace(nn.Module):
    """Logits with a margin that adapts to the norm of the embedding. The norms carry no gradient.

    Args:
        scale: s.
        margin: m.
        concentration: h, the share of the norms' spread that moves the margin.
        momentum: weight of the new batch in the running mean and standard deviation.
        filter_threshold: cosines of other classes above it are set to 0, or None.

    Raises:
        ValueError: if a setting is out of range.
    """

    norm_mean: Tensor
    norm_std: Tensor
    loss_ceiling: float | None = None

    def __init__(
        self,
        scale: float = 64.0,
        margin: float = 0.4,
        *,
        concentration: float = 0.333,
        momentum: float = 0.01,
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_settings(scale, filter_threshold)
        check_margin(margin, name="margin")
        if not 0 <= concentration < math.inf:
            raise ValueError(f"concentration must be finite and at least 0, got {concentration}")
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, got {momentum}")
        self.scale, self.margin, self.concentration, self.momentum = scale, margin, concentration, momentum
        self.filter_threshold = filter_threshold
        # The published start: far from any batch, so early margins are near the middle.
        self.register_buffer("norm_mean", torch.tensor(20.0))
        self.register_buffer("norm_std", torch.tensor(100.0))

    @torch.no_grad()
    def update(self, target_cosines: Tensor, norms: Tensor) -> None:
        """Move the running mean and standard deviation by the norms (B,) of the whole batch.

        One face alone has no spread: it moves the mean only; none moves nothing.
        """
        if not len(norms):
            return
        safe = safe_norms(norms).to(self.norm_mean)
        self.norm_mean.lerp_(safe.mean(), self.momentum)
        if safe.numel() > 1:
            self.norm_std.lerp_(safe.std(), self.momentum)

    def quality(self, norms: Tensor) -> Tensor:
        """Return z (B,) in [-1, 1]: how far each norm is above the running mean; detached."""
        spread = self.norm_std.to(norms) + 1e-3
        return ((safe_norms(norms.detach()) - self.norm_mean.to(norms)) / spread * self.concentration).clamp(-1, 1)

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None) -> Tensor:
        """Return s (cos(theta - m z) - (m + m z)) (B,), the angle kept in [0, pi]."""
        shift = self.margin * self.quality(require_norms(norms).to(target_cosines.dtype))
        edge = 1 - torch.finfo(target_cosines.dtype).eps
        angles = torch.acos(target_cosines.clamp(-edge, edge)) - shift
        return self.scale * (torch.cos(angles.clamp(0, math.pi)) - (self.margin + shift))

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return s cos(theta_j) (B, C), filtered."""
        return self.scale * filter_others(cosines, self.filter_threshold)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits (B, C); in training the statistics move first."""
        return join_logits(self, cosines, labels=labels, norms=norms)


def safe_norms(norms: Tensor) -> Tensor:
    """Return norms (B,) kept in [0.001, 100], where the published statistics are taken."""
    return norms.clamp(0.001, 100)
