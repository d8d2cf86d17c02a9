"""What a step of a generalist does: a batch of every task, one encoder pass a size, a loss a task, one balance of all.

Faceptor (ECCV 2024, arXiv 2403.09500); equations, deviations, tests: docs/papers/faceptor.md.
Shapes: B images of a task, Q outputs of a task.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from transface.backbones.parts.evaluating import evaluating
from transface.backbones.timm_encoder import parameters_behind
from transface.data.batches import FaceBatch, num_images
from transface.data.labels.attributes import AttributeTargets, mirrored_attributes
from transface.data.labels.label import targets_where
from transface.data.labels.sides import mirrored_classes
from transface.images.pixels import draw_mirrored, mirror, normalise
from transface.losses.embedding_distillation import EmbeddingLoss, embedding_distillation
from transface.systems.generalist.dense_views import DenseViews
from transface.systems.generalist.faceptor import Generalist
from transface.systems.generalist.loss_balance import Balance, FixedWeights
from transface.systems.generalist.stages import frozen_modules, train_only
from transface.systems.generalist.task_losses import TASK_LOSSES, landmark_loss, parsing_loss
from transface.systems.generalist.tasks import DENSE_KINDS, Task
from transface.training.module import NamedLosses, OptimizerFactory, TrainingModule
from transface.training.optimization.parameter_groups import DecayRule, group_parameters
from transface.training.optimization.schedules import Schedule


class GeneralistModule(TrainingModule):
    """Trains one network on all its tasks at once.

    Args:
        network: a Faceptor or NaiveFaceptor.
        classifier: (embeddings, labels) -> per-sample losses of the identity tasks; None where there is none.
        balance: tasks -> what weighs their losses (loss_balance.py); None: each counts alike.
        augmentation: further changes of the images of age, expression and attributes, (images, generator) -> images.
        dense: makes views of the canvases of landmarks and parsing: (batch, task, generator) -> DenseView; needed
            where there are such tasks.
        identity_teacher: a frozen network with an embedding that teaches ours on the batches of identity, or the path
            of one (whatever transface.load opens), which `open_models` opens; not saved.
        identity_teacher_weight, identity_teacher_loss: of that term; see losses/embedding_distillation.py.
        heat_weight: of the heat maps' cross-entropy beside the distance of the points; 1 as published.
        region_balance: how much more the pixels of small regions weigh in parsing; 0 as published. See
            losses/regions.py.
        flip_probability: share of the images of tasks that are not dense that are mirrored, labels with them.
        encoder_lr_factor: of the learning rate of the encoder; that of all else is the optimizer's.
        trained: words; only parameters whose name holds one of them are trained. Empty: all.
        decay_rule, layer_decay: see training/optimization/parameter_groups.py.
        optimizer, schedule, clip_norm, seed: see TrainingModule.

    Raises:
        ValueError: for another network, a classifier without identity tasks or the other way round, dense tasks
            without views, a word of `trained` that names nothing, or a setting out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        classifier: nn.Module | None = None,
        balance: Callable[[Sequence[Task]], nn.Module] | None = None,
        augmentation: nn.Module | None = None,
        dense: Callable[..., Any] | None = None,
        identity_teacher: nn.Module | str | Path | None = None,
        identity_teacher_weight: float = 1.0,
        identity_teacher_loss: EmbeddingLoss = "cosine",
        heat_weight: float = 1.0,
        region_balance: float = 0.0,
        flip_probability: float = 0.5,
        encoder_lr_factor: float = 0.1,
        trained: Sequence[str] = (),
        decay_rule: DecayRule = "matrices",
        layer_decay: float = 1.0,
        optimizer: OptimizerFactory,
        schedule: Schedule | None = None,
        clip_norm: float | None = 5.0,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer=optimizer, schedule=schedule, clip_norm=clip_norm, seed=seed)
        if not isinstance(network, Generalist):
            raise ValueError(f"a generalist is a Faceptor or NaiveFaceptor, got {type(network).__name__}")
        if not 0 <= flip_probability <= 1:
            raise ValueError(f"system.flip_probability must be in 0..1, got {flip_probability}")
        if not heat_weight > 0:
            raise ValueError(f"system.heat_weight must be positive, got {heat_weight}")
        if not 0 <= region_balance <= 1:
            raise ValueError(f"system.region_balance must be in 0..1, got {region_balance}")
        if not encoder_lr_factor > 0 or not 0 < layer_decay <= 1:
            raise ValueError(
                "system.encoder_lr_factor must be positive and layer_decay in (0, 1], got"
                f" {encoder_lr_factor} and {layer_decay}"
            )
        self.network: Any = network
        self.rows = tuple(network.tasks.values())
        identities = [task.name for task in self.rows if task.kind == "identity"]
        if bool(identities) != (classifier is not None):
            raise ValueError(
                f"identity tasks need a classifier, and only they: tasks of identity {', '.join(identities) or 'none'},"
                f" classifier {'none' if classifier is None else type(classifier).__name__}"
            )
        dense_names = [task.name for task in self.rows if task.dense]
        if dense_names and dense is None:
            raise ValueError(f"tasks {', '.join(dense_names)} need system.dense, which makes views of their images")
        if flip_probability:
            for task in self.rows:
                mirrored_targets(task, torch.zeros(0, dtype=torch.int64))
        self.classifier = classifier
        self.balance: Any = (FixedWeights if balance is None else balance)(self.rows)
        self.augmentation = augmentation
        self.dense: Any = dense
        if isinstance(dense, DenseViews):
            for name in dense_names:
                dense.check(network.tasks[name])
        self.heat_weight = heat_weight
        self.region_balance = region_balance
        self.flip_probability = flip_probability
        self.encoder_lr_factor = encoder_lr_factor
        self.decay_rule: DecayRule = decay_rule
        self.layer_decay = layer_decay
        self.identity_teacher_weight = identity_teacher_weight
        self.identity_teacher_loss: EmbeddingLoss = identity_teacher_loss
        self._teacher_path = identity_teacher if isinstance(identity_teacher, str | Path) else None
        self._teacher: tuple[nn.Module, ...] = ()  # in a tuple: neither trained nor saved
        if identity_teacher is not None and not isinstance(identity_teacher, str | Path):
            self._teacher = (self._frozen_teacher(identity_teacher),)
        self.num_trained = train_only(network, trained) if trained else None
        freeze_unreached(network)
        self._frozen = frozen_modules(network) if trained or getattr(network, "second_stage", False) else ()

    @staticmethod
    def unread_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return the settings that are not read beside the tasks and the others, by name, with the reason."""
        rows = settings["network"].get("tasks") or ()
        kinds = [row["kind"] if isinstance(row, Mapping) else row.kind for row in rows]
        of_kinds = {
            "landmarks": ("heat_weight", "network.points", "network.heat_bias"),
            "parsing": ("region_balance",),
        }
        unread = {
            name: f"it is of tasks of {kind}, and there is none"
            for kind, names in of_kinds.items()
            for name in names
            if kinds and kind not in kinds
        }
        if kinds and not set(kinds) & set(DENSE_KINDS):
            unread |= dict.fromkeys(("dense", "network.pixel_layers"), "no task is of landmarks or parsing")
        if settings.get("identity_teacher") is None:
            unread |= dict.fromkeys(
                ("identity_teacher_weight", "identity_teacher_loss"), "system.identity_teacher is null"
            )
        return unread

    def open_models(self, open_model: Callable[[str], nn.Module]) -> None:
        if self._teacher_path is not None and not self._teacher:
            opened: Any = open_model(str(self._teacher_path))
            self._teacher = (self._frozen_teacher(getattr(opened, "backbone", opened)),)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; parts that are wholly frozen by `trained` or by the second stage stay in eval mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def losses(self, batch: Mapping[str, FaceBatch], generator: torch.Generator) -> NamedLosses:
        names = [task.name for task in self.rows]
        if not isinstance(batch, Mapping) or set(batch) != set(names):
            given = ", ".join(batch) if isinstance(batch, Mapping) else type(batch).__name__
            raise ValueError(f"a step needs a batch of every task ({', '.join(names)}), got {given}")
        seen = {task.name: self._seen(task, batch[task.name], generator) for task in self.rows}
        logits = self.network.forward_batches({name: self.network.pixels(name, one[0]) for name, one in seen.items()})
        terms = {task.name: self._loss(task, logits[task.name], seen[task.name][1]) for task in self.rows}
        balanced = self.balance(terms)
        self._log({f"train/weight/{name}": weight.detach() for name, weight in balanced.weights.items()}, batch)
        return self._joined(terms, balanced, seen, logits, num_images(batch))

    def _joined(
        self,
        terms: dict[str, Tensor],
        balanced: Balance,
        seen: Mapping[str, Any],
        logits: Mapping[str, Tensor],
        count: int,
    ) -> NamedLosses:
        weights: dict[str, Any] = dict(balanced.weights)
        if balanced.regulariser is not None:
            terms = terms | {"balance": balanced.regulariser}
        if self._teacher:
            own = [task.name for task in self.rows if task.kind == "identity"]
            student, images, people = (
                torch.cat(parts) for parts in zip(*((logits[name], *seen[name]) for name in own), strict=True)
            )
            terms = terms | {"identity_teacher": self._taught(student, images, people)}
            weights["identity_teacher"] = self.identity_teacher_weight
        return NamedLosses(terms, weights, num_samples=count)

    def _seen(self, task: Task, batch: FaceBatch, generator: torch.Generator) -> tuple[Tensor, Any]:
        """Return a task's images (B, 3, H, W), float in [-1, 1], as this step sees them, and their targets."""
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        if task.dense:
            view = self.dense(batch, task, generator, dtype=dtype)
            return view.images, view.targets
        flipped = draw_mirrored(batch.images, generator, probability=self.flip_probability)
        images = mirror(normalise(batch.images, dtype=dtype), flipped)
        if self.augmentation is not None and task.kind != "identity":
            images = self.augmentation(images, generator)
        return images, targets_where(flipped, mirrored_targets(task, batch.labels), batch.labels)

    def _loss(self, task: Task, logits: Tensor, targets: Any) -> Tensor:
        if task.kind == "identity":
            assert self.classifier is not None
            per_sample: Tensor = self.classifier(logits, targets)
            return per_sample.mean()
        if isinstance(targets, AttributeTargets):
            targets = torch.where(targets.known, targets.values.to(logits.dtype), -1)
        if task.kind == "landmarks":  # at the size of the maps: a quarter of the view's, 128 of the published 512
            size = (int(logits.shape[-2]), int(logits.shape[-1]))
            reader = self.network.points
            return landmark_loss(logits, targets, size=size, heat_weight=self.heat_weight, reader=reader)
        if task.kind == "parsing":
            return parsing_loss(logits, targets, region_balance=self.region_balance)
        return TASK_LOSSES[task.kind](logits, targets)

    def _taught(self, student: Tensor, images: Tensor, people: Tensor) -> Tensor:
        teacher: Any = self._teacher[0]
        first = next(teacher.parameters(), None)
        if first is not None and first.device != self.device:
            teacher.to(self.device)
        with torch.no_grad():
            taught = teacher(images if first is None else images.to(first.dtype)).embedding
        return embedding_distillation(self.identity_teacher_loss, student, taught.to(student.dtype), labels=people)

    def _frozen_teacher(self, teacher: nn.Module) -> nn.Module:
        """Return a teacher, frozen.

        Raises:
            ValueError: for a teacher without an embedding, of another size than ours where its loss needs one, or of
                other images than identity's.
        """
        own: Any = teacher
        called = str(self._teacher_path or type(teacher).__name__)
        kinds = [task for task in self.rows if task.kind == "identity"]
        if not kinds or "embedding" not in getattr(teacher, "outputs", {}):
            raise ValueError(
                f"system.identity_teacher needs an identity task, and a network with an embedding: {called} answers"
                f" {', '.join(getattr(teacher, 'outputs', ())) or 'nothing by name'}, the tasks are"
                f" {', '.join(task.name for task in self.rows)}"
            )
        if isinstance(teacher, Generalist):  # its embedding alone, at the size at which it looks at faces
            own = teacher = teacher.answering(["embedding"])
        size = int(getattr(own, "embedding_size", 0) or kinds[0].num_outputs)
        if self.identity_teacher_loss != "relational" and size != kinds[0].num_outputs:
            raise ValueError(
                f"the teacher {called} has an embedding of {size}, identity of {kinds[0].num_outputs}: give"
                f" embedding_size={size}, or system.identity_teacher_loss=relational"
            )
        sizes = {(task.image_size or self.network.image_size[0],) * 2 for task in kinds}
        if sizes != {tuple(own.image_size)}:
            raise ValueError(
                f"the teacher {called} takes images of {tuple(own.image_size)} pixels, identity is trained at"
                f" {sorted(sizes)}"
            )
        return teacher.eval().requires_grad_(False)

    def _log(self, values: Mapping[str, Tensor], batch: Any) -> None:
        if self._fabric is None and self._trainer is not None:
            self.log_dict(dict(values), batch_size=num_images(batch))

    def forward(self, images: Tensor) -> Any:
        """Return the answers to images (B, 3, H, W), RGB in [-1, 1]."""
        return self.network(images)

    def flops_per_image(self) -> int | None:
        """Return None: what an image costs depends on its task."""
        return None

    def parameter_groups(self) -> list[dict[str, Any]]:
        groups = group_parameters(self.network, self.decay_rule, layer_decay=self.layer_decay)
        encoder = {id(parameter) for parameter in self.network.encoder.parameters()}
        split: list[dict[str, Any]] = []
        for group in groups:
            for inside, factor in ((True, self.encoder_lr_factor), (False, 1.0)):
                chosen = [parameter for parameter in group["params"] if (id(parameter) in encoder) is inside]
                if chosen:
                    split.append(group | {"params": chosen, "lr_factor": group["lr_factor"] * factor})
        for part, settings in ((self.classifier, {}), (self.balance, {"weight_decay": 0.0})):
            own = [] if part is None else [value for value in part.parameters() if value.requires_grad]
            if own:
                split.append({"params": own, **settings})
        return split


def mirrored_targets(task: Task, targets: Any) -> Any:
    """Return the targets of the mirrored images of a task that is not dense: labels that name a side trade places."""
    if isinstance(targets, AttributeTargets):
        return mirrored_attributes(targets, task.names)
    return mirrored_classes(targets, task.names) if task.kind == "expression" else targets


def freeze_unreached(network: Any) -> None:
    """Switch off parameters that no answer depends on (a norm after the last layer that is read): DDP waits for the
    gradient of every parameter that wants one.
    """
    side = min(task.image_size or min(network.image_size) for task in network.tasks.values())
    parameter = next(network.parameters())
    with torch.enable_grad(), evaluating(network):
        images = torch.zeros(1, 3, side, side, device=parameter.device, dtype=parameter.dtype)
        logits = network.task_logits(network.encode(images), list(network.tasks))
        total = torch.stack([one.sum() for one in logits.values()]).sum()
    reached = {id(one) for one in parameters_behind(total)}
    for value in network.parameters():
        if id(value) not in reached:
            value.requires_grad_(False)
