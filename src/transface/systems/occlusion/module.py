"""What a step of occlusion does: one geometry, a whole and an occluded view; the student answers, and the teacher's
answers teach it.

Georgescu et al., arXiv 2008.01003, 2111.10561; equations, deviations and tests: docs/papers/occlusion.md.
Shapes: B faces, E embedding size.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.data.augment.occluders import points_in_pixels, random_numbers
from transface.data.batches import FaceBatch
from transface.distributed import all_reduce_sum, world_size
from transface.images.pixels import from_levels, normalise
from transface.losses.soft_targets import age_distribution_loss
from transface.systems.occlusion.distillations import Distillation, Taught
from transface.systems.occlusion.paired_views import PairedViews, draw_geometry, paired_views
from transface.told_once import warn_once
from transface.training.module import NamedLosses, OptimizerFactory, TrainingModule
from transface.training.optimization.parameter_groups import DecayRule, group_parameters
from transface.training.optimization.schedules import Schedule

View = Literal["whole", "occluded"]
NUM_PROBES, PROBE_SIDE = 16, 32  # of the images that an occluder is tried on
log = logging.getLogger(__name__)


class OcclusionModule(TrainingModule):
    """Trains a teacher (view "whole"), an occluded baseline (view "occluded"), or a student with a teacher.

    Args:
        network: images -> answers by name with `embedding` (AnswerNetwork).
        view: what the network sees.
        occluder: hides a part of each face; None: nothing is hidden.
        teacher: a frozen network of the same outputs, which sees the whole face; it is neither trained nor saved.
        distillation: how it teaches; with a teacher and only then.
        points: where five points lie in every image, as shares of its sides; None: unknown, so that drawn occluders
            fall back to half.
        output_weights: of the loss of each output; 1 where not named.
        flip_probability, max_degrees, scale, gain: of the geometry and light both views share.
        label_smoothing: of classes.
        decay_rule, layer_decay: see training/optimization/parameter_groups.py.
        optimizer, schedule, clip_norm, seed: see TrainingModule.

    Raises:
        ValueError: for a teacher without distillation or the other way round, or one of other outputs or another image
            size.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        view: View = "occluded",
        occluder: Any = None,
        teacher: nn.Module | None = None,
        distillation: Distillation | None = None,
        points: Sequence[Sequence[float]] | None = None,
        output_weights: Mapping[str, float] | None = None,
        flip_probability: float = 0.5,
        max_degrees: float = 10.0,
        scale: Sequence[float] = (0.9, 1.1),
        gain: Sequence[float] = (0.85, 1.15),
        label_smoothing: float = 0.0,
        decay_rule: DecayRule = "matrices",
        layer_decay: float = 1.0,
        optimizer: OptimizerFactory,
        schedule: Schedule | None = None,
        clip_norm: float | None = 5.0,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer=optimizer, schedule=schedule, clip_norm=clip_norm, seed=seed)
        if view not in ("whole", "occluded"):
            raise ValueError(f"view must be 'whole' or 'occluded', got {view!r}")
        if (teacher is None) != (distillation is None):
            raise ValueError("a teacher and a distillation belong together: give both or neither")
        own_outputs = getattr(network, "outputs", {})
        if unknown := sorted(set(output_weights or {}) - set(own_outputs)):
            raise ValueError(
                f"system.output_weights has {', '.join(unknown)}, the network answers {', '.join(own_outputs)}"
            )
        if odd := {name: weight for name, weight in (output_weights or {}).items() if not 0 <= weight < math.inf}:
            raise ValueError(f"system.output_weights must be at least 0 and finite, got {odd}")
        check_outputs = getattr(distillation, "check_outputs", None)
        if check_outputs is not None:
            check_outputs(own_outputs)
        if view == "occluded" and occluder is None:
            raise ValueError("view=occluded needs an occluder, e.g. occluder=half_lower")
        self.network: Any = network
        self.view: View = view
        self.occluder = occluder
        self.distillation = distillation
        self.points = None if points is None else torch.tensor(points, dtype=torch.float32)
        self.output_weights = dict(output_weights or {})
        if view == "occluded" and points is None:
            warn_of_absent_points(occluder)
        self.geometry = {
            "flip_probability": flip_probability,
            "max_degrees": max_degrees,
            "scale": (float(scale[0]), float(scale[1])),
            "gain": (float(gain[0]), float(gain[1])),
        }
        self.label_smoothing = label_smoothing
        self.decay_rule: DecayRule = decay_rule
        self.layer_decay = layer_decay
        self.projector: nn.Module | None = None
        # In a tuple: no part of this module, so neither its optimizer nor its checkpoints know the teacher, and train()
        # does not reach it.
        self._teacher: tuple[nn.Module, ...] = ()
        if teacher is not None:
            check_teacher(teacher, network)
            self._teacher = (teacher.eval().requires_grad_(False),)
            # getattr: a Module's attribute is of unknown kind
            widths = [int(getattr(one, "embedding_size")) for one in (self.network, teacher)]  # noqa: B009
            if widths[0] != widths[1]:
                self.projector = nn.Linear(widths[0], widths[1], bias=False)

    @staticmethod
    def unread_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return the settings that are not read beside the others, by name, with the reason."""
        network = settings.get("network") or {}
        outputs = (network.get("network") or network).get("outputs") or {}
        kinds = {output["kind"] if isinstance(output, Mapping) else output.kind for output in outputs.values()}
        unread = {}
        if kinds and "one_of" not in kinds:
            unread["label_smoothing"] = f"it is of classes, and {', '.join(outputs)} has none"
        if kinds and "number" not in kinds:
            unread["network.network.num_values"] = f"it is of numbers, and {', '.join(outputs)} is none"
        return unread

    @property
    def teacher(self) -> nn.Module | None:
        """The teacher on this module's device, frozen and in eval mode."""
        return self._teacher[0] if self._teacher else None

    def views(self, images: Tensor, generator: torch.Generator) -> PairedViews:
        """Return both views of images (B, 3, H, W) uint8, all draws from the generator."""
        geometry = draw_geometry(len(images), generator, **self.geometry)  # type: ignore[arg-type]
        numbers = None if self.occluder is None else random_numbers(self.occluder, len(images), generator)
        points = None
        if self.points is not None:
            points = points_in_pixels(self.points, images.shape[2:]).to(images.device).expand(len(images), -1, -1)
        return paired_views(images, points, geometry, self.occluder, numbers)

    def losses(self, batch: FaceBatch, generator: torch.Generator) -> NamedLosses:
        views = self.views(batch.images, generator)
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        seen = views.clean if self.view == "whole" else views.occluded
        answers = self.network(_normalised(seen, dtype))
        terms = {
            f"task/{name}": self._task_loss(name, answers, getattr(batch.labels, name)) for name in self.network.outputs
        }
        weights = {term: self.output_weights.get(term.removeprefix("task/"), 1.0) for term in terms}
        if self.distillation is not None:
            taught = self._taught(_normalised(views.clean, dtype), answers, batch.labels, generator)
            weights = {term: weight * taught.task_weight for term, weight in weights.items()} | taught.weights
            terms |= taught.terms
            self._log(taught.logged, len(batch.images))
        self._log(
            {
                "train/hidden_share": (views.alpha > 0.5).float().mean(),
                "train/fell_back": views.fell_back.float().mean(),
            },
            len(batch.images),
        )
        return NamedLosses(terms, weights, num_samples=len(batch.images))

    def _taught(self, whole: Tensor, answers: Any, labels: Any, generator: torch.Generator) -> Taught:
        assert self.distillation is not None
        teacher = self._teacher[0]
        if next(teacher.parameters()).device != self.device or next(teacher.parameters()).dtype != whole.dtype:
            teacher.to(self.device, whole.dtype)
        with torch.no_grad():
            taught = teacher(whole)
        student = answers.embedding if self.projector is None else self.projector(answers.embedding)
        return self.distillation(answers, taught, labels, self.network.outputs, student, generator)

    def _task_loss(self, name: str, answers: Any, targets: Tensor) -> Tensor:
        """Return the mean loss of one output over the images of all ranks whose label is known, times what DDP's
        average takes away; 0 with a gradient of 0 where there are none.
        """
        if self.network.outputs[name].kind == "one_of":
            known = targets >= 0
            per_image = F.cross_entropy(
                getattr(answers, name), targets.clamp_min(0), reduction="none", label_smoothing=self.label_smoothing
            )
        else:
            known = targets.isfinite()
            ages = torch.where(known, targets, torch.zeros_like(targets)).to(getattr(answers, name).dtype)
            if hasattr(answers, f"{name}_logits"):
                per_image = age_distribution_loss(getattr(answers, f"{name}_logits"), ages)
            else:
                per_image = F.smooth_l1_loss(getattr(answers, name), ages, reduction="none", beta=5.0) / 5
        count = all_reduce_sum(known.sum().to(torch.promote_types(per_image.dtype, torch.float32))).clamp_min(1)
        return torch.where(known, per_image, torch.zeros_like(per_image)).sum() * (world_size() / count)

    def _log(self, values: Mapping[str, Tensor], count: int) -> None:
        if values and self._fabric is None and self._trainer is not None:
            self.log_dict(dict(values), batch_size=count)

    def parameter_groups(self) -> list[dict[str, Any]]:
        groups = group_parameters(self.network, self.decay_rule, layer_decay=self.layer_decay)
        return groups if self.projector is None else [*groups, {"params": list(self.projector.parameters())}]


def warn_of_absent_points(occluder: Any) -> None:
    """Tell where an occluder is drawn by points and has none: it blacks out a half instead, in every face."""
    images = torch.zeros(NUM_PROBES, 3, PROBE_SIDE, PROBE_SIDE)
    numbers = random_numbers(occluder, NUM_PROBES, torch.Generator().manual_seed(0))
    share = float(occluder(images, numbers, None).fell_back.float().mean())
    if share:
        faces = "every face" if share == 1 else "part of the faces"
        warn_once(
            log,
            "%s draws by points, and points is null: in %s a half is blacked out instead; points=[[x, y], ...] says"
            " where eyes, nose and mouth lie, as shares of the sides",
            type(occluder).__name__,
            faces,
        )


def check_teacher(teacher: nn.Module, student: nn.Module) -> None:
    """Raise where a teacher cannot teach a student.

    Raises:
        ValueError: naming the outputs or the image sizes that differ.
    """
    own, other = (getattr(network, "outputs", {}) for network in (student, teacher))
    if not hasattr(teacher, "embedding_size") or not other:
        raise ValueError(
            f"a teacher answers by name with an embedding, {type(teacher).__name__} does not: train one with"
            " stage=teacher"
        )
    for name, output in own.items():
        if name not in other:
            raise ValueError(
                f"the teacher answers {', '.join(other)}, the student is to answer {name}: it is a teacher of another"
                " task"
            )
        if (output.kind, tuple(output.names)) != (other[name].kind, tuple(other[name].names)):
            raise ValueError(
                f"teacher and student must mean the same by {name}: {other[name].names or other[name].kind} is not"
                f" {output.names or output.kind}"
            )
    sizes = [tuple(network.image_size) for network in (teacher, student)]  # type: ignore[arg-type]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"the teacher takes images of {sizes[0]} pixels, the student of {sizes[1]}: they see the same photographs"
        )


def _normalised(images: Tensor, dtype: torch.dtype) -> Tensor:
    return from_levels(images.to(dtype)) if images.is_floating_point() else normalise(images, dtype=dtype)
