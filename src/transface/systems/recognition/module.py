"""What a step of face recognition does: normalise, perturb (DPAP), embed, classify with a margin, weight each sample
(EHSM).

TransFace (ICCV 2023, arXiv 2308.10133). With perturbation=None and weighting=None this is plain ArcFace.
Shapes: B faces, E embedding size, N patches, D token width.
"""

import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from transface.backbones.parts.keypoint_positions import mirror_keypoints
from transface.classifiers.progress import FollowsTraining
from transface.classifiers.several_heads import SeveralHeads
from transface.data.augment.augmentations import InTurn
from transface.data.augment.mixup import MixedFaces, Mixup
from transface.data.batches import FaceBatch
from transface.distributed import global_mean, world_size
from transface.images.pixels import draw_mirrored, mirror, normalise
from transface.systems.recognition.keypoints import KeypointSource
from transface.systems.recognition.teacher import RecognitionTeacher
from transface.training.module import NamedLosses, OptimizerFactory, TrainingModule
from transface.training.optimization.parameter_groups import DecayRule, freeze, group_parameters
from transface.training.optimization.schedules import Schedule

log = logging.getLogger(__name__)


class RecognitionModule(TrainingModule):
    """Trains a backbone, its network, to tell identities apart.

    Args:
        backbone: images -> FaceFeatures.
        classifier: (embeddings, labels) -> per-sample losses; owns the class centres and the margin.
        perturbation: DPAP or None.
        weighting: EHSM or None; needs a backbone with tokens.
        augmentation: further changes of the batch, (images, generator) -> images, or None.
        mixup: mixes faces in pairs, and their losses alike, or None.
        distillation: a frozen teacher of the embeddings, which sees the faces before augmentation, or None; not with
            mixup.
        keypoints: where the key points of a backbone with KP-RPE come from, or None for those of aligned faces; from
            records not with mixup or an augmentation that moves the face.
        flip_probability: share of the images mirrored.
        decay_rule: "matrices" or "released", see training/optimization/parameter_groups.py.
        layer_decay, frozen: for fine-tuning, see training/optimization/parameter_groups.py.
        backbone_lr_factor: the backbone's learning rate as a share of the classifier's; below 1 to fine-tune.
        head_first_epochs: for how long, from the start, the classifier alone learns, from a backbone in eval mode whose
            weights and optimizer state stay untouched; new class centres are random, and would pull it anywhere.
        optimizer, schedule, clip_norm, seed: see TrainingModule; clip_norm acts on the backbone only.

    Raises:
        ValueError: if DPAP or EHSM is asked of a backbone that has no patches.
    """

    hints = {  # noqa: RUF012 - a constant of the class
        "non_finite": "take margin=cosface",
        "stuck": "take margin=cosface (a healthy ViT with ArcFace may sit near a loss of 38 for the first epoch)",
        "out_of_memory": "classifier=partial_fc",
    }

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module,
        *,
        perturbation: nn.Module | None = None,
        weighting: nn.Module | None = None,
        augmentation: nn.Module | None = None,
        mixup: Mixup | None = None,
        distillation: RecognitionTeacher | None = None,
        keypoints: KeypointSource | None = None,
        flip_probability: float = 0.5,
        decay_rule: DecayRule = "matrices",
        layer_decay: float = 1.0,
        frozen: tuple[str, ...] | list[str] = (),
        backbone_lr_factor: float = 1.0,
        head_first_epochs: float = 0.0,
        optimizer: OptimizerFactory,
        schedule: Schedule | None = None,
        clip_norm: float | None = 5.0,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer=optimizer, schedule=schedule, clip_norm=clip_norm, seed=seed)
        if not 0 <= flip_probability <= 1:
            raise ValueError(f"system.flip_probability must be in 0..1, got {flip_probability}")
        if not 0 < layer_decay <= 1:
            raise ValueError(
                f"system.layer_decay must be above 0 and at most 1 (system.frozen holds layers fast), got {layer_decay}"
            )
        if not 0 < backbone_lr_factor < math.inf or not 0 <= head_first_epochs < math.inf:
            raise ValueError(
                f"system.backbone_lr_factor must be above 0 and system.head_first_epochs at least 0, got"
                f" {backbone_lr_factor} and {head_first_epochs}"
            )
        sizes = [getattr(part, "embedding_size", None) for part in (backbone, classifier)]
        if None not in sizes and sizes[0] != sizes[1]:
            raise ValueError(
                f"the backbone gives embeddings of {sizes[0]} numbers and the classifier takes {sizes[1]}: set"
                " embedding_size, which both have by default"
            )
        if perturbation is not None:
            check_backbone: Any = perturbation.check_backbone
            check_backbone(backbone)
        if weighting is not None and not math.prod(getattr(backbone, "grid_size", (0, 0))):
            raise ValueError(
                f"EHSM needs a backbone with patches, {type(backbone).__name__} has none: set weighting=none"
            )
        if distillation is not None:
            if mixup is not None:
                raise ValueError("a teacher knows no mixed faces: set mixup to null, or distillation=none")
            if distillation.path is None:
                distillation.check_student(backbone)
        if keypoints is not None:
            _check_keypoints(keypoints, backbone, augmentation, mixup)
        if isinstance(classifier, SeveralHeads) and (mixup is not None or getattr(keypoints, "sees", "") == "records"):
            raise ValueError("several data sets go neither with mixup nor with key points of records: leave that out")
        self.network = backbone
        self.classifier = classifier
        self.perturbation = perturbation
        self.weighting = weighting
        self.augmentation = augmentation
        self.mixup = mixup
        self.distillation = distillation
        self.keypoints: Any = keypoints
        self.flip_probability = flip_probability
        self.decay_rule = decay_rule
        self.layer_decay = layer_decay
        self.backbone_lr_factor = backbone_lr_factor
        self.head_first_epochs = head_first_epochs
        self._head_first_steps = 0  # known once the length of an epoch is
        # Here and not with the optimizer: DDP waits for the gradient of every parameter that wants one when it wraps
        # the module.
        self._frozen_modules = freeze(backbone, tuple(frozen))

    @property
    def backbone(self) -> nn.Module:
        """The network: what embeds a face."""
        return self.network

    def train(self, mode: bool = True) -> Self:
        """Set training mode; frozen parts stay in eval mode, so that neither their weights nor their batch-norm
        statistics move.
        """
        super().train(mode)
        for module in self._frozen_modules:
            module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (B, E), not normalised, of images (B, 3, H, W), RGB in [-1, 1]."""
        return self.backbone(images).embedding

    def on_train_start(self) -> None:
        super().on_train_start()
        self._tell_unreached()
        if self.head_first_epochs:
            length = self.run_length()
            self._head_first_steps = round(self.head_first_epochs * length.steps_per_epoch)
            if self._head_first_steps >= length.total_steps:
                raise ValueError(
                    f"system.head_first_epochs={self.head_first_epochs} is the whole run of {length.total_steps} steps:"
                    " train longer, or freeze the backbone (system.frozen)"
                )

    def _tell_unreached(self) -> None:
        """Warn of what the classifier begins later than the run ends."""
        unreached = getattr(self.classifier, "unreached", None)
        if unreached is None or not self.trainer.is_global_zero:
            return
        length = self.run_length()
        epochs = math.ceil(length.total_steps / length.steps_per_epoch)
        if found := unreached(steps=length.total_steps, epochs=epochs):
            log.warning(
                "the run ends after %d steps, in epoch %d (from 0), and never comes to this: %s",
                length.total_steps,
                epochs - 1,
                "; ".join(found),
            )

    @property
    def head_learns_alone(self) -> bool:
        """Whether the present step leaves the backbone as it is."""
        return self._head_first_steps > 0 and self.global_step < self._head_first_steps

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.head_learns_alone:  # on several ranks DDP waits for gradients, so there were some
            for parameter in self.backbone.parameters():
                parameter.grad = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if self.head_learns_alone:
            self.backbone.eval()
        elif self._head_first_steps and self.global_step == self._head_first_steps:
            self.train()
        if isinstance(self.classifier, FollowsTraining):
            self.classifier.follow(step=self.global_step, epoch=self.current_epoch)

    def losses(self, batch: FaceBatch | Mapping[str, FaceBatch], generator: torch.Generator) -> NamedLosses:
        sizes = None
        if isinstance(batch, Mapping) and batch and all(isinstance(part, FaceBatch) for part in batch.values()):
            sizes = {name: len(part.images) for name, part in batch.items()}
            batch = FaceBatch(*(torch.cat(columns) for columns in zip(*batch.values(), strict=True)))
        if not isinstance(batch, FaceBatch):
            raise ValueError(
                "a batch must be a FaceBatch(images uint8 (B, 3, H, W), labels (B,), keys (B,)), got"
                f" {type(batch).__name__}: let the loader's collate_fn return one (transface.data.batches)"
            )
        images = normalise(batch.images, dtype=self._image_dtype())
        mirrored = draw_mirrored(images, generator, probability=self.flip_probability)
        images = mirror(images, mirrored)
        told = self._told(batch.keys, mirrored)
        whole = images
        if self.augmentation is not None:
            images = self.augmentation(images, generator)
        if self.perturbation is not None:
            images = self.perturbation(images, self.backbone, generator=generator, **told)
        mixed = None if self.mixup is None else self.mixup(images, generator)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.head_learns_alone and world_size() == 1)):
            features = self.backbone(images if mixed is None else mixed.images, **told)
        weights = None
        if self.weighting is not None:
            weights = self.weighting(features.tokens)
            self._log_weights(weights.detach())
        if sizes is None:
            per_sample = self._classified(features.embedding, batch.labels, mixed)
            terms = {"margin": global_mean(per_sample if weights is None else weights * per_sample)}
            factors: dict[str, float] = {}
        else:
            terms, factors = self._of_sets(features.embedding, batch.labels, sizes, weights)
        if self.distillation is not None:
            terms["distillation"] = self.distillation(features.embedding, whole, batch.labels)
            factors["distillation"] = self.distillation.weight
        return NamedLosses(terms, factors, num_samples=len(batch.images))

    def _of_sets(
        self, embeddings: Tensor, labels: Tensor, sizes: Mapping[str, int], weights: Tensor | None
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the loss of each data set, and the factors of these losses."""
        if not isinstance(self.classifier, SeveralHeads):
            raise ValueError("several data sets in a step need a head each: set classifier=several_heads")
        per_sample = self.classifier(embeddings, labels, sizes=sizes)
        if weights is not None:
            shares = dict(zip(sizes, weights.split(list(sizes.values())), strict=True))
            per_sample = {name: shares[name] * losses for name, losses in per_sample.items()}
        factors = self.classifier.weights_of(sizes)
        terms = {f"margin/{name}": global_mean(losses) for name, losses in per_sample.items()}
        return terms, {f"margin/{name}": factor for name, factor in factors.items()}

    def _told(self, keys: Tensor, mirrored: Tensor) -> dict[str, Tensor]:
        """Return what the backbone is told besides the images: the key points (B, 5, 2) of records, mirrored as they
        are.
        """
        if self.keypoints is None or self.keypoints.sees != "records":
            return {}
        points = self.keypoints(keys)
        return {"keypoints": torch.where(mirrored[:, None, None], mirror_keypoints(points), points)}

    def _image_dtype(self) -> torch.dtype:
        """Return float64 where the whole model is in it, else float32."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def _classified(self, embeddings: Tensor, labels: Tensor, mixed: MixedFaces | None) -> Tensor:
        """Return the losses (B,); of mixed faces, those for both people by their shares, from one call of the
        classifier.
        """
        if mixed is None:
            return self.classifier(embeddings, labels)
        own, other = self.classifier(embeddings.repeat(2, 1), torch.cat([labels, labels[mixed.other]])).chunk(2)
        return mixed.ratio * own + (1 - mixed.ratio) * other

    def _log_weights(self, weights: Tensor) -> None:
        self.log_dict(
            {"train/ehsm/weight_mean": weights.mean(), "train/ehsm/weight_spread": weights.std(correction=0)},
            batch_size=len(weights),
        )

    def flops_per_image(self) -> int | None:
        """Return the operations of forward and backward of the backbone and of the products with the class centres of
        a step (of all of them, or the share that is drawn); DPAP's scoring is not counted.
        """
        backbone = super().flops_per_image()
        if backbone is None:
            return None
        classes = int(getattr(self.classifier, "num_identities", 0)) * getattr(self.classifier, "sample_rate", 1.0)
        return backbone + 6 * round(classes) * int(getattr(self.classifier, "embedding_size", 0))

    @staticmethod
    def unfit_parts(parts: Mapping[str, Any]) -> dict[str, str]:
        """Return which of a system's parts need patches that the class of its backbone lacks, and why; parts are
        classes or functions that build one.
        """
        backbone = parts.get("backbone")
        kind = inspect.signature(backbone).return_annotation if inspect.isfunction(backbone) else backbone
        if getattr(kind, "grid_size", None) != (0, 0):
            return {}
        name = getattr(kind, "__name__", str(kind))
        return {part: f"{name} has no patches" for part in ("perturbation", "weighting") if parts.get(part) is not None}

    def open_models(self, open_model: Callable[[str], nn.Module]) -> None:
        if self.distillation is not None:
            self.distillation.open(open_model)
            self.distillation.check_student(self.backbone)

    def parameter_groups(self) -> list[dict[str, Any]]:
        groups = group_parameters(self.backbone, self.decay_rule, layer_decay=self.layer_decay)
        for group in groups:
            group["lr_factor"] *= self.backbone_lr_factor
        # A threshold that a loss learns is no matrix either.
        own = list(self.classifier.parameters())
        groups.append({"params": [parameter for parameter in own if parameter.ndim > 1]})
        numbers = [parameter for parameter in own if parameter.ndim <= 1]
        if numbers:
            groups.append({"params": numbers, "weight_decay": 0.0})
        projector = [] if self.distillation is None else list(self.distillation.parameters())
        return [*groups, {"params": projector}] if projector else groups

    def clipped_parameters(self) -> Iterable[nn.Parameter]:
        return self.backbone.parameters()


def _check_keypoints(
    keypoints: KeypointSource, backbone: nn.Module, augmentation: nn.Module | None, mixup: Mixup | None
) -> None:
    """Tell the backbone of a source that sees images; raise ValueError where a source has no use or cannot be right."""
    use: Any = getattr(backbone, "use_keypoints", None)
    if use is None:
        raise ValueError(
            f"system.keypoints are for a backbone with KP-RPE (backbone.relative_positions=keypoints),"
            f" {type(backbone).__name__} takes none: set keypoints=template"
        )
    use(keypoints if keypoints.sees == "images" else None)
    if keypoints.sees == "records":
        parts = augmentation.steps if isinstance(augmentation, InTurn) else [augmentation]
        moving = [type(part).__name__ for part in parts if hasattr(part, "moves")]
        if moving or mixup is not None:
            raise ValueError(
                f"key points of records do not move with {', '.join(moving) or 'mixed faces'}: leave that out, or take"
                " keypoints=detector"
            )
