"""UniFace: one threshold for all faces between own and other classes, learned with the network.

UniFace (ICCV 2023). loss = softplus(-(s (c_y - m) - b)) + l sum_j softplus(s c_j - b), arguments kept in -s..s; b
begins at ln(10 C r). No softmax, so the loss adds over any split of the classes.
Shapes: B faces, C classes.
"""

import math

import torch
from torch import Tensor, nn

from transface.margins.margin import check_margin, check_settings, filter_others, join_logits


def softplus(arguments: Tensor) -> Tensor:
    """Return log(1 + exp(x)), exact at both ends."""
    return torch.logaddexp(arguments, torch.zeros_like(arguments))


class UniFace(nn.Module):
    """The unified threshold loss. The other classes' logit is log softplus(s c_j - b), so that the log-sum-exp of a
    walk over classes is the logarithm of the sum over them.

    Args:
        num_identities: C, for the first threshold.
        scale: s, and the largest argument of a softplus.
        margin: m, taken off the own cosine.
        others_weight: l.
        sample_rate: r, the share of the classes that are sampled in a step, for the first threshold.
        first_threshold: b at first; None: ln(10 C r).
        filter_threshold: cosines of other classes above it are set to 0, or None.

    Attributes:
        threshold: b, learned.

    Raises:
        ValueError: if a setting is out of range.
    """

    loss_ceiling: float | None = None

    def __init__(
        self,
        num_identities: int,
        scale: float = 64.0,
        *,
        margin: float = 0.4,
        others_weight: float = 1.0,
        sample_rate: float = 1.0,
        first_threshold: float | None = None,
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_settings(scale, filter_threshold)
        check_margin(margin, name="margin", below=2)
        if num_identities < 1:
            raise ValueError(f"num_identities must be at least 1, got {num_identities}")
        if not 0 < sample_rate <= 1:
            raise ValueError(f"sample_rate must be above 0 and at most 1, got {sample_rate}")
        if not 0 <= others_weight < math.inf:
            raise ValueError(f"others_weight must be finite and at least 0, got {others_weight}")
        self.scale = scale
        self.margin = margin
        self.others_weight = others_weight
        self.filter_threshold = filter_threshold
        first = math.log(10 * num_identities * sample_rate) if first_threshold is None else first_threshold
        self.threshold = nn.Parameter(torch.tensor(float(first)))

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return s (c_y - m) (B,)."""
        return self.scale * (target_cosines - self.margin)

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return log softplus(s c_j - b) (B, C)."""
        arguments = self.scale * filter_others(cosines, self.filter_threshold) - self.threshold
        return softplus(arguments.clamp(-self.scale, self.scale)).log()

    def combine(self, target_logits: Tensor, others_logsumexp: Tensor) -> Tensor:
        """Return the losses (B,)."""
        arguments = (target_logits - self.threshold).clamp(-self.scale, self.scale)
        return softplus(-arguments) + self.others_weight * others_logsumexp.exp()

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits (B, C)."""
        return join_logits(self, cosines, labels=labels, norms=norms)
