"""ElasticFace: every sample gets a margin of its own, drawn anew in each step from a normal distribution.

ElasticFace (CVPRW 2022, arXiv 2109.09416). m_i ~ N(m, sigma^2); logit_y = s cos(theta_y + m_i) ("arc") or s
(cos(theta_y) - m_i) ("cos"). ElasticFace+ gives the largest of a batch's margins to the sample with the smallest own
cosine.
Shapes: B faces, C classes.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from transface.distributed import rank
from transface.margins.angles import add_angle, cosine_of_sum
from transface.margins.margin import check_margin, check_settings, filter_others, join_logits
from transface.seeds import seed_from

Pairing = Literal["random", "exact", "released"]


def assign_margins(margins: Tensor, target_cosines: Tensor, pairing: Pairing) -> Tensor:
    """Return the drawn margins (B,) in the order in which the samples of target_cosines (B,) get them.

    "random" leaves them; "exact" gives the largest margin to the smallest cosine. "released" indexes the sorted margins
    by the permutation that sorts the cosines, not by each sample's rank, as the released code does.
    """
    if pairing == "random":
        return margins
    falling = target_cosines.argsort(descending=True)
    rising = margins.sort().values
    return rising[falling] if pairing == "released" else torch.empty_like(rising).index_copy_(0, falling, rising)


def elastic_cosines(target_cosines: Tensor, margins: Tensor, *, kind: str, beyond_pi: str = "monotonic") -> Tensor:
    """Return cos(theta + m_i), or cos(theta) - m_i, (B,)."""
    if kind == "cos":
        return target_cosines - margins
    return add_angle(target_cosines, margins) if beyond_pi == "monotonic" else cosine_of_sum(target_cosines, margins)


class ElasticFace(nn.Module):
    """Logits with a margin drawn for every sample in training; in evaluation it is the mean.

    Draws follow from (seed, training steps so far, rank). Margins are not clipped.

    Args:
        scale: s.
        margin: m, in radians for "arc", in cosine for "cos".
        deviation: sigma.
        kind: "arc" or "cos".
        pairing: "random" is ElasticFace; "exact" and "released" are ElasticFace+, see assign_margins.
        beyond_pi: for "arc" where theta + m_i > pi: "monotonic" continues as ArcFace does; "released" is the cosine,
            which rises again.
        seed: of the draws.
        filter_threshold: cosines of other classes above it are set to 0, or None.

    Raises:
        ValueError: if a setting is out of range.
    """

    loss_ceiling: float | None = None

    def __init__(
        self,
        scale: float = 64.0,
        margin: float = 0.5,
        *,
        deviation: float = 0.05,
        kind: Literal["arc", "cos"] = "arc",
        pairing: Pairing = "random",
        beyond_pi: Literal["monotonic", "released"] = "monotonic",
        seed: int = 0,
        filter_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_settings(scale, filter_threshold)
        check_margin(margin, name="margin")
        if not 0 <= deviation < math.inf:
            raise ValueError(f"deviation must be finite and at least 0, got {deviation}")
        if kind not in ("arc", "cos"):
            raise ValueError(f"kind must be 'arc' or 'cos', got {kind!r}")
        if pairing not in ("random", "exact", "released"):
            raise ValueError(f"pairing must be 'random', 'exact' or 'released', got {pairing!r}")
        if beyond_pi not in ("monotonic", "released"):
            raise ValueError(f"beyond_pi must be 'monotonic' or 'released', got {beyond_pi!r}")
        self.scale = scale
        self.margin = margin
        self.deviation = deviation
        self.kind = kind
        self.pairing: Pairing = pairing
        self.beyond_pi = beyond_pi
        self.seed = seed
        self.filter_threshold = filter_threshold
        self.num_steps = 0

    def update(self, target_cosines: Tensor, norms: Tensor) -> None:
        """Count a training step: the next one draws other margins."""
        self.num_steps += 1

    def draw_margins(self, like: Tensor) -> Tensor:
        """Return this step's margins, of the shape, device and dtype of target cosines (B,), in the order drawn."""
        generator = torch.Generator(like.device).manual_seed(
            seed_from("elasticface", self.seed, self.num_steps, rank())
        )
        drawn = torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
        return self.margin + self.deviation * drawn

    def target_logits(self, target_cosines: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return s cos(theta + m_i), or s (cos(theta) - m_i), (B,)."""
        if self.training and self.deviation > 0:
            margins = assign_margins(self.draw_margins(target_cosines), target_cosines.detach(), self.pairing)
        else:
            margins = torch.full_like(target_cosines, self.margin)
        return self.scale * elastic_cosines(target_cosines, margins, kind=self.kind, beyond_pi=self.beyond_pi)

    def other_logits(self, cosines: Tensor, target_cosines: Tensor) -> Tensor:
        """Return s cos(theta_j) (B, C), filtered."""
        return self.scale * filter_others(cosines, self.filter_threshold)

    def forward(self, cosines: Tensor, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits (B, C)."""
        # The norms only count the step: any will do.
        return join_logits(self, cosines, labels=labels, norms=cosines[:, 0] if norms is None else norms)

    def get_extra_state(self) -> Tensor:
        """Return the training steps so far, for state_dict."""
        return torch.tensor(self.num_steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Resume the draws of a saved state."""
        self.num_steps = int(state)
