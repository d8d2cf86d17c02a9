"""What a step of attributes does: flip, every zone answers, the labels teach all, the last zone teaches the others.

MZTS (FG 2023). Sources and choices: docs/papers/mzts.md. Shapes: B images, A attributes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transface.data.batches import FaceBatch
from transface.data.labels.attributes import mirrored_attributes
from transface.data.labels.label import targets_where
from transface.images.pixels import draw_mirrored, mirror, normalise
from transface.systems.attributes.attribute_network import as_network
from transface.systems.attributes.class_token_distillation import SelfDistillation
from transface.training.module import NamedLosses, OptimizerFactory, TrainingModule
from transface.training.optimization.parameter_groups import DecayRule, group_parameters
from transface.training.optimization.schedules import Schedule


class AttributesModule(TrainingModule):
    """Trains a network of zones to name the attributes of a face.

    Args:
        network: an AttributeNetwork.
        distillation: settings of SelfDistillation.
        label_loss: (logits, values) -> entries; None: binary cross-entropy.
        augmentation: further changes of the batch, (images, generator) -> images, or None.
        flip_probability: share of the images mirrored; labels that name a side trade places.
        new_lr_factor: of the learning rate of what is not the transformer's own.
        decay_rule, layer_decay: see training/optimization/parameter_groups.py.
        optimizer, schedule, clip_norm, seed: see TrainingModule.

    Raises:
        ValueError: for another network, or settings out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        distillation: dict[str, Any] | None = None,
        label_loss: nn.Module | None = None,
        augmentation: nn.Module | None = None,
        flip_probability: float = 0.5,
        new_lr_factor: float = 1.0,
        decay_rule: DecayRule = "matrices",
        layer_decay: float = 1.0,
        optimizer: OptimizerFactory,
        schedule: Schedule | None = None,
        clip_norm: float | None = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer=optimizer, schedule=schedule, clip_norm=clip_norm, seed=seed)
        if not 0 <= flip_probability <= 1:
            raise ValueError(f"system.flip_probability must be in 0..1, got {flip_probability}")
        if not 0 < layer_decay <= 1 or not new_lr_factor > 0:
            raise ValueError(
                f"layer_decay must be in (0, 1] and new_lr_factor positive, got {layer_decay} and {new_lr_factor}"
            )
        own = as_network(network)
        if own.stripped or own.exit != own.encoder.num_zones:
            raise ValueError(
                f"training needs every zone: take predict=last or mean and stripped=false, got predict={own.predict}"
            )
        self.network: Any = own
        self.distillation = SelfDistillation(
            own.encoder.width, label_loss=label_loss, **_students(distillation, own.encoder.num_zones)
        )
        if not (self.distillation.weights["zones"] or self.distillation.weights["logits"]):
            _freeze_students(own)
        self.augmentation = augmentation
        self.flip_probability = flip_probability
        self.new_lr_factor = new_lr_factor
        self.decay_rule: DecayRule = decay_rule
        self.layer_decay = layer_decay

    @staticmethod
    def unread_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return the settings of distillation that are not read beside the others, by name, with the reason."""
        own = dict(settings.get("distillation") or {})
        if settings["network"]["encoder"].get("zones") in (1, [1]):
            return {f"distillation.{name}": "backbone.zones=1: there is no other zone to teach" for name in own}
        shares = {name: own.get(name, 1.0) for name in ("beta", "gamma", "delta")}
        nothing = "beta, gamma and delta are 0: only labels teach the zones"
        unread = {
            "temperature": "" if shares["beta"] else "distillation.beta is 0: no logits are taught",
            "token_loss": "" if shares["gamma"] else "distillation.gamma is 0: no tokens are taught",
            "ramp_share": "" if any(shares.values()) else nothing,
            "teacher_gradient": "" if any(shares.values()) else nothing,
            "kappa": "" if own.get("zone_weights") == "ladder" else "it is of distillation.zone_weights=ladder",
        }
        return {f"distillation.{name}": why for name, why in unread.items() if why}

    def losses(self, batch: FaceBatch, generator: torch.Generator) -> NamedLosses:
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        flipped = draw_mirrored(batch.images, generator, probability=self.flip_probability)
        images = mirror(normalise(batch.images, dtype=dtype), flipped)
        if self.augmentation is not None:
            images = self.augmentation(images, generator)
        predictions = self.network.zones(images, attention=self.distillation.wants_attention)
        labels = targets_where(flipped, mirrored_attributes(batch.labels, self.network.label_names), batch.labels)
        terms, weights = self.distillation(predictions, labels, progress=self.progress())
        return NamedLosses(terms, weights, num_samples=len(batch.images))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        recorded = checkpoint.get("transface", {}).get("network")
        if isinstance(recorded, dict):  # thresholds are no weights: they lie in what the network was built with
            self.network.set_thresholds(recorded.get("thresholds"))

    def progress(self) -> float:
        """Return the share of the training that is done, in 0..1; 1 outside a trainer."""
        if self._trainer is None:
            return 1.0
        total = self.run_length().total_steps
        return min(self.trainer.global_step / max(total, 1), 1.0)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, A) of images (B, 3, H, W), RGB in [-1, 1]."""
        return self.network(images).attributes

    def parameter_groups(self) -> list[dict[str, Any]]:
        groups = group_parameters(self.network, self.decay_rule, layer_decay=self.layer_decay)
        new = {id(parameter) for name, parameter in self.network.named_parameters() if self.network.is_new(name)}
        split: list[dict[str, Any]] = []
        for group in groups:
            for fresh, factor in ((False, 1.0), (True, self.new_lr_factor)):
                chosen = [parameter for parameter in group["params"] if (id(parameter) in new) is fresh]
                if chosen:
                    split.append(group | {"params": chosen, "lr_factor": group["lr_factor"] * factor})
        own = [parameter for parameter in self.distillation.parameters() if parameter.requires_grad]
        return [*split, {"params": own, "lr_factor": self.new_lr_factor}] if own else split


def _students(settings: dict[str, Any] | None, num_zones: int) -> dict[str, Any]:
    """Return the settings of distillation; with one zone nobody is taught, and no projector is built."""
    found = dict(settings or {})
    return found | {"gamma": 0.0} if num_zones == 1 else found


def _freeze_students(network: Any) -> None:
    """Switch off heads that no loss reaches: DDP waits for the gradient of every parameter that wants one."""
    for name, head in network.heads.items():
        if name != f"zone_{network.encoder.num_zones}" and network.predict != "mean":
            head.requires_grad_(False)
