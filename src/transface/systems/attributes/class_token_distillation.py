"""Self-distillation: the last zone's answers and class token teach the shallower zones.

MZTS (FG 2023). Sources and choices: docs/papers/mzts.md. Shapes: B images, G zones (the last is the teacher), A
attributes, D token width, N patches.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from transface.data.labels.attributes import AttributeTargets
from transface.losses.attributes import BinaryCrossEntropy, known_mean
from transface.losses.distillation import (
    TeacherGradient,
    TokenDistance,
    attention_kl,
    bernoulli_divergence,
    token_distance,
)
from transface.systems.attributes.zones import ZoneWeights, ramp, student_weights


class ZonePredictions(NamedTuple):
    """What a network of zones says of a batch.

    Attributes:
        logits: (B, G, A) of each zone.
        tokens: (B, G, D) class token of each zone.
        attention: (B, G, N) where the class tokens look, or None.
    """

    logits: Tensor
    tokens: Tensor
    attention: Tensor | None = None


class WeightedTerms(NamedTuple):
    """Scalar losses by name, and the factor of each in the total."""

    terms: dict[str, Tensor]
    weights: dict[str, float]


class TokenProjector(nn.Module):
    """The non-linear map all students share, so that a shallow token need not be the teacher's (as ICKD, TCSVT 2023): D
    -> D/2 -> D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(tokens)


class SelfDistillation(nn.Module):
    """The losses of a step: L = L_cls + alpha L_aux + r(t) (beta L_kd + gamma L_tok + delta L_att).

    Args of the constructor:
        width: D; the projector is built for it where gamma is above 0.
        alpha, beta, gamma, delta: of the students' own labels, of logits, of tokens, of attention.
        temperature: of the logits.
        ramp_share: share of the training over which distillation rises to its full weight: the teacher is poor at the
            start.
        zone_weights, kappa: "uniform" or "ladder", see zones.py.
        token_loss: "cosine", "mse_ln" or "smooth_l1".
        teacher_gradient: "none", or "full": the ablation in which students also move the teacher.
        label_loss: (logits, values) -> entries; binary cross-entropy by default.

    Raises:
        ValueError: for a negative weight, or words and numbers that the parts refuse.
    """

    def __init__(
        self,
        width: int,
        *,
        alpha: float = 0.3,
        beta: float = 0.5,
        gamma: float = 0.1,
        delta: float = 0.0,
        temperature: float = 2.0,
        ramp_share: float = 0.1,
        zone_weights: ZoneWeights = "uniform",
        kappa: float = 2.0,
        token_loss: TokenDistance = "cosine",
        teacher_gradient: TeacherGradient = "none",
        label_loss: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.weights = {"zones": alpha, "logits": beta, "tokens": gamma, "attention": delta}
        if min(self.weights.values()) < 0:
            raise ValueError(
                f"alpha, beta, gamma and delta must be at least 0, got {alpha}, {beta}, {gamma} and {delta}"
            )
        self.temperature = temperature
        self.ramp_share = ramp_share
        self.zone_weights: ZoneWeights = zone_weights
        self.kappa = kappa
        self.token_loss: TokenDistance = token_loss
        self.teacher_gradient: TeacherGradient = teacher_gradient
        self.label_loss = BinaryCrossEntropy() if label_loss is None else label_loss
        self.projector = TokenProjector(width) if gamma > 0 else None
        ramp(0.0, ramp_share)
        student_weights(2, zone_weights, kappa=kappa)
        two = torch.zeros(2)
        token_distance(two, two, token_loss)
        bernoulli_divergence(two, two, temperature, teacher_gradient=teacher_gradient)

    @property
    def wants_attention(self) -> bool:
        return self.weights["attention"] > 0

    def forward(
        self, predictions: ZonePredictions, targets: AttributeTargets, *, progress: float = 1.0
    ) -> WeightedTerms:
        """Return the terms that count, "attributes" (the last zone's own) first; `progress` is the share of the
        training done.
        """
        num_zones = predictions.logits.shape[1]
        values = targets.values[:, None].expand_as(predictions.logits)
        by_zone = known_mean(self.label_loss(predictions.logits, values), targets.known)
        terms = {"attributes": by_zone[-1]}
        if num_zones == 1:
            return WeightedTerms(terms, {})
        shares = student_weights(num_zones, self.zone_weights, progress=progress, kappa=self.kappa)
        omega = by_zone.new_tensor(shares)
        terms["zones"] = (omega * by_zone[:-1]).sum()
        terms |= {name: (omega * part).sum() for name, part in self._distilled(predictions).items()}
        rising = ramp(progress, self.ramp_share)
        weights = {
            name: self.weights[name] * (1.0 if name == "zones" else rising) for name in terms if name != "attributes"
        }
        # A term of weight 0 is logged all the same: it says what the students would have been taught.
        return WeightedTerms(terms, weights)

    def _distilled(self, predictions: ZonePredictions) -> dict[str, Tensor]:
        """Return the losses (G-1,) of the students by what they are taught with."""
        logits, tokens, attention = predictions
        teacher, students = logits[:, -1:].expand_as(logits[:, :-1]), logits[:, :-1]
        kept = self.teacher_gradient
        entries = bernoulli_divergence(teacher, students, self.temperature, teacher_gradient=kept)
        distilled = {"logits": entries.mean((0, 2))}
        if self.projector is not None:
            projected = self.projector(tokens[:, :-1])
            target = tokens[:, -1:].expand_as(projected)
            distilled["tokens"] = token_distance(target, projected, self.token_loss, teacher_gradient=kept).mean(0)
        if attention is not None and self.wants_attention:
            looks = attention[:, -1:].expand_as(attention[:, :-1])
            distilled["attention"] = attention_kl(looks, attention[:, :-1], teacher_gradient=kept).mean(0)
        return distilled
