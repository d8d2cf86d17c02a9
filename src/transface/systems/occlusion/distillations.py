"""How a teacher's answers become terms of a student's loss: soft targets, triplets, or both.

Shapes: B images, E embedding size. `answers` and `taught` are what AnswerNetwork returns of the occluded and the whole
faces.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from transface.backbones.features import Output
from transface.losses.soft_targets import soft_target_divergence
from transface.systems.occlusion.triplet_distillation import (
    Negative,
    Positive,
    Relations,
    age_relations,
    choose_triplets,
    chosen_loss,
    class_relations,
)


class Taught(NamedTuple):
    """What a distillation adds.

    Attributes:
        terms: name -> scalar loss.
        weights: name -> factor of each.
        task_weight: factor of the task's own loss.
        logged: name -> number to log.
    """

    terms: dict[str, Tensor]
    weights: dict[str, float]
    task_weight: float = 1.0
    logged: dict[str, Tensor] = {}  # noqa: RUF012 - an empty default that nobody writes to


class Distillation(Protocol):
    """Turns a teacher's answers into terms of the student's loss."""

    def __call__(
        self,
        answers: Any,
        taught: Any,
        labels: Any,
        outputs: Mapping[str, Output],
        student: Tensor,
        generator: torch.Generator,
    ) -> Taught:
        """Return the terms; `student` (B, E) is the student's embedding in the teacher's width."""
        ...


class SoftTargets:
    """Classic distillation: (1 - share) of the task's loss, `share` of T^2 KL to the teacher's probabilities.

    Numbers that are no distribution follow the teacher's value by a smooth L1 distance.

    Args:
        share: lambda of the papers, 0..1.
        temperature: T.

    Raises:
        ValueError: for a share outside 0..1 or a temperature that is not positive.
    """

    def __init__(self, share: float = 0.7, temperature: float = 4.0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must be in 0..1, got {share}")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {temperature}")
        self.share = share
        self.temperature = temperature

    def __call__(
        self,
        answers: Any,
        taught: Any,
        labels: Any,
        outputs: Mapping[str, Output],
        student: Tensor,
        generator: torch.Generator,
    ) -> Taught:
        terms = {f"soft/{name}": self._term(name, output, answers, taught).mean() for name, output in outputs.items()}
        return Taught(terms, dict.fromkeys(terms, self.share), task_weight=1 - self.share)

    def _term(self, name: str, output: Output, answers: Any, taught: Any) -> Tensor:
        field = f"{name}_logits" if hasattr(answers, f"{name}_logits") else name
        own, wanted = getattr(answers, field), getattr(taught, field).detach()
        if output.kind == "number" and field == name:
            return F.smooth_l1_loss(own, wanted, reduction="none")
        return soft_target_divergence(own, wanted, self.temperature)


class TripletTargets:
    """Triplet distillation beside the task's loss: anchor and negative of the student, positive of the teacher.

    Args:
        weight: mu, of the triplet loss.
        margin: of the squared distances.
        normalise: compare directions ("unit") or the embeddings as they are ("none").
        positive, negative: how triplets are chosen; see triplet_distillation.
        task_weight: of the task's own loss: 1 is joint training, 0 leaves the triplets alone.
        columns: whose labels say what is alike; None: all, one after the other.

    Raises:
        ValueError: for a weight or margin that is negative.
    """

    def __init__(
        self,
        weight: float = 1.0,
        *,
        margin: float = 0.2,
        normalise: str = "unit",
        positive: Positive = "mixed",
        negative: Negative = "semi_hard",
        task_weight: float = 1.0,
        columns: list[str] | tuple[str, ...] | None = None,
    ) -> None:
        if weight < 0 or margin < 0 or task_weight < 0:
            raise ValueError(
                f"weight, margin and task_weight must be 0 or more, got {weight}, {margin} and {task_weight}"
            )
        if normalise not in ("unit", "none"):
            raise ValueError(f"normalise must be 'unit' or 'none', got {normalise!r}")
        self.weight = weight
        self.margin = margin
        self.normalise = normalise
        self.positive: Positive = positive
        self.negative: Negative = negative
        self.task_weight = task_weight
        self.columns = None if columns is None else tuple(columns)

    def check_outputs(self, outputs: Mapping[str, Output]) -> None:
        """Raise ValueError where a column is none of the student's outputs."""
        if unknown := [name for name in self.columns or () if name not in outputs]:
            raise ValueError(
                f"stage.distillation.columns has {', '.join(unknown)}, the network answers {', '.join(outputs)}"
            )

    def __call__(
        self,
        answers: Any,
        taught: Any,
        labels: Any,
        outputs: Mapping[str, Output],
        student: Tensor,
        generator: torch.Generator,
    ) -> Taught:
        teacher = taught.embedding.detach()
        if self.normalise == "unit":
            student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
        terms, logged = {}, {}
        for name in self.columns or outputs:
            relations = _relations(outputs[name], getattr(labels, name))
            triplets = choose_triplets(
                student,
                teacher,
                relations,
                margin=self.margin,
                positive=self.positive,
                negative=self.negative,
                generator=generator,
            )
            terms[f"triplet/{name}"] = chosen_loss(student, teacher, triplets, self.margin)
            logged[f"train/triplets/{name}"] = triplets.valid.float().mean()
        return Taught(terms, dict.fromkeys(terms, self.weight), self.task_weight, logged)


def _relations(output: Output, targets: Tensor) -> Relations:
    return class_relations(targets) if output.kind == "one_of" else age_relations(targets)
