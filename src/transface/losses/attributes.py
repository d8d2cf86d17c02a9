"""Losses of yes/no labels, one number per entry: cross-entropy with class weights, focal, asymmetric; and their mean
over what is known.

Shapes: B images, A attributes, * further axes of the logits between them (zones).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.distributed import all_reduce_sum, world_size


class BinaryCrossEntropy(nn.Module):
    """Cross-entropy of each label; `pos_weight` multiplies the loss where the label is yes.

    Args of the constructor:
        pos_weight: one factor for all labels, or one for each; None is 1.

    Raises:
        ValueError: for a factor that is not positive.
    """

    pos_weight: Tensor | None

    def __init__(self, pos_weight: float | Sequence[float] | None = None) -> None:
        super().__init__()
        weight = None if pos_weight is None else torch.as_tensor(pos_weight, dtype=torch.float32)
        if weight is not None and not bool(((weight > 0) & weight.isfinite()).all()):
            raise ValueError(f"pos_weight must be positive, got {pos_weight}")
        self.register_buffer("pos_weight", weight, persistent=False)

    def forward(self, logits: Tensor, values: Tensor) -> Tensor:
        """Return the loss of every entry of logits (*, A) with values of that shape, 0 or 1."""
        return F.binary_cross_entropy_with_logits(
            logits, values.to(logits.dtype), pos_weight=self.pos_weight, reduction="none"
        )


class Focal(nn.Module):
    """Focal loss (Lin et al., ICCV 2017): the cross-entropy times (1 - probability of the right answer)^gamma.

    Raises:
        ValueError: for a negative gamma.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"focal gamma must be at least 0, got {gamma}")
        self.gamma = gamma

    def forward(self, logits: Tensor, values: Tensor) -> Tensor:
        """Return the loss of every entry; arguments as of BinaryCrossEntropy."""
        right = torch.where(values.bool(), logits, -logits)
        return (-right).sigmoid().pow(self.gamma) * -F.logsigmoid(right)


class Asymmetric(nn.Module):
    """Asymmetric loss (Ridnik et al., ICCV 2021): other powers for yes and no, and easy answers of no cut off.

    Args of the constructor:
        gamma_positive, gamma_negative: powers, as gamma of Focal.
        clip: probabilities of yes below it count as none where the answer is no.

    Raises:
        ValueError: for a negative gamma, or a clip outside 0..1.
    """

    def __init__(self, gamma_positive: float = 0.0, gamma_negative: float = 4.0, clip: float = 0.05) -> None:
        super().__init__()
        if not (gamma_positive >= 0 and gamma_negative >= 0 and 0 <= clip < 1):
            raise ValueError(
                f"gammas must be at least 0 and clip in 0..1, got {gamma_positive}, {gamma_negative} and {clip}"
            )
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.clip = clip

    def forward(self, logits: Tensor, values: Tensor) -> Tensor:
        """Return the loss of every entry; arguments as of BinaryCrossEntropy."""
        yes = logits.sigmoid()
        present = (1 - yes).pow(self.gamma_positive) * -F.logsigmoid(logits)
        wrong = (yes - self.clip).clamp_min(0)
        # With no clip log(1 - yes) comes from logsigmoid: exact for large logits too.
        loss_of_no = -F.logsigmoid(-logits) if self.clip == 0 else -torch.log1p(-wrong)
        return torch.where(values.bool(), present, wrong.pow(self.gamma_negative) * loss_of_no)


def known_mean(entries: Tensor, known: Tensor) -> Tensor:
    """Return the mean (*) of entries (B, *, A) over images and known labels (B, A) of all ranks, times what DDP's
    average takes away.

    With every label known and batches of one size this is the plain mean. Without any known label it is 0, with a
    gradient of 0.
    """
    mask = known.reshape(known.shape[0], *[1] * (entries.ndim - 2), known.shape[1])
    total = all_reduce_sum(known.sum().to(torch.promote_types(entries.dtype, torch.float32))).clamp_min(1)
    return torch.where(mask, entries, torch.zeros_like(entries)).sum((0, -1)) * (world_size() / total)
