"""The network of attributes: the multi-zone encoder with a head on every zone, of which the last one answers.

MZTS (FG 2023). Sources and choices: docs/papers/mzts.md. Shapes: B images, G zones, A attributes, D token width.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from transface.backbones.features import Output
from transface.backbones.weights.rebuild import rebuildable
from transface.systems.attributes.class_token_distillation import ZonePredictions
from transface.systems.attributes.multi_zone_encoder import MultiZoneEncoder
from transface.systems.attributes.zone_interactions import initialise

log = logging.getLogger(__name__)


class AttributeAnswers(NamedTuple):
    """The logits (B, A) of the attributes."""

    attributes: Tensor


@rebuildable
class AttributeNetwork(nn.Module):
    """A head (layer norm, linear) on the class token of every zone; the answer is that of the last one.

    Args of the constructor:
        encoder: a MultiZoneEncoder.
        label_names: of the attributes, in the order of the logits.
        thresholds: the probability from which each attribute counts as given; None: 0.5 for all.
        predict: "last", "mean" (of the zones' logits), or "exit_1", "exit_2", ...: the zone to stop at.
        stripped: only the head that answers exists: for use, not for training.

    Raises:
        ValueError: for no names, thresholds that are not one a label, or another word.
    """

    def __init__(
        self,
        encoder: nn.Module,
        label_names: Sequence[str],
        *,
        thresholds: Sequence[float] | None = None,
        predict: str = "last",
        stripped: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, MultiZoneEncoder):
            raise ValueError(f"an attribute network needs a MultiZoneEncoder, got {type(encoder).__name__}")
        if not label_names:
            raise ValueError(
                "an attribute network needs the names of its labels: label_names, which the data gives in training"
            )
        self.encoder = encoder
        self.image_size = encoder.image_size
        self.predict = predict
        self.exit = exit_of(predict, encoder.num_zones)
        self.outputs: dict[str, Output] = {}
        self.label_names = tuple(str(name) for name in label_names)
        self.set_thresholds(thresholds)
        self.stripped = stripped
        count = encoder.num_zones
        wanted = {self.exit} if stripped and predict != "mean" else set(range(1, count + 1))
        self.heads = nn.ModuleDict(
            {f"zone_{zone}": _head(encoder.width, len(self.label_names)) for zone in sorted(wanted)}
        )

    def set_thresholds(self, thresholds: Sequence[float] | None) -> None:
        """State the probability from which each attribute counts as given; it is written into checkpoints and
        exports.
        """
        found = tuple(float(value) for value in thresholds or ())
        if found and len(found) != len(self.label_names):
            raise ValueError(f"thresholds are one a label, got {len(found)} for {len(self.label_names)} labels")
        self.outputs["attributes"] = Output("several_of", self.label_names, thresholds=found)
        built_with: Any = getattr(self, "built_with", None)
        if built_with is not None:
            built_with["thresholds"] = list(found) or None

    def zones(self, images: Tensor, *, attention: bool = False) -> ZonePredictions:
        """Return what every zone says of images (B, 3, H, W), RGB float in [-1, 1].

        Raises:
            ValueError: if the other heads were taken away.
        """
        if self.stripped:
            raise ValueError("this network was stripped for use: only the zone that answers has a head")
        tokens, looks = self.encoder(images, attention=attention)
        return ZonePredictions(self._logits(tokens), tokens, looks)

    def _logits(self, tokens: Tensor) -> Tensor:
        return torch.stack([self.heads[f"zone_{zone + 1}"](tokens[:, zone]) for zone in range(tokens.shape[1])], 1)

    def forward(self, images: Tensor) -> AttributeAnswers:
        """Return the logits of images (B, 3, H, W), RGB float in [-1, 1]."""
        tokens = self.encoder(images, until=self.exit).tokens
        if self.predict == "mean":
            return AttributeAnswers(self._logits(tokens).mean(1))
        return AttributeAnswers(self.heads[f"zone_{self.exit}"](tokens[:, -1]))

    def exit_at(self, zone: int) -> Self:
        """Answer with the head of a zone, from 1, and run no deeper one; return this network.

        Thresholds were measured at the zone that answered before: of another one there are none, and one half holds.

        Raises:
            ValueError: for a zone that is not there, or whose head was taken away.
        """
        exit_of(f"exit_{zone}", self.encoder.num_zones)
        if f"zone_{zone}" not in self.heads:
            raise ValueError(
                f"this network was stripped for use and ends at zone {self.exit}: open the run to exit at {zone}"
            )
        if self.outputs["attributes"].thresholds and (zone != self.exit or self.predict == "mean"):
            log.warning(
                "the thresholds of this network were measured with predict=%s: at zone %d an attribute counts as given"
                " from 0.5 on",
                self.predict,
                zone,
            )
            self.set_thresholds(None)
        self.predict, self.exit = f"exit_{zone}", zone
        built_with: Any = getattr(self, "built_with", None)
        if built_with is not None:
            built_with["predict"] = self.predict
        return self

    def strip_for_inference(self) -> Self:
        """Take away the heads that do not answer, and return this network; its answers stay the same to the last
        bit.
        """
        if self.predict != "mean":
            for name in [name for name in self.heads if name != f"zone_{self.exit}"]:
                del self.heads[name]
        self.stripped = True
        built_with: Any = getattr(self, "built_with", None)
        if built_with is not None:
            built_with["stripped"] = True
        return self

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter, the heads as deep as all that is not timm's."""
        return self.encoder.layer_index(parameter_name.removeprefix("encoder."))

    def is_new(self, parameter_name: str) -> bool:
        """Return whether a parameter is none of the transformer's own, so that it always starts fresh."""
        return not parameter_name.startswith("encoder.model.")


def exit_of(predict: str, num_zones: int) -> int:
    """Return the zone, from 1, at which a network stops that predicts by this word.

    Raises:
        ValueError: for another word, or a zone that is not there.
    """
    if predict in ("last", "mean"):
        return num_zones
    word, _, number = predict.partition("_")
    if word != "exit" or not number.isdigit() or not 1 <= int(number) <= num_zones:
        raise ValueError(f"predict must be 'last', 'mean' or 'exit_1'..'exit_{num_zones}', got {predict!r}")
    return int(number)


def _head(width: int, num_labels: int) -> nn.Sequential:
    head = nn.Sequential(nn.LayerNorm(width, eps=1e-6), nn.Linear(width, num_labels))
    initialise(head)
    return head


def as_network(network: Any) -> AttributeNetwork:
    """Return the network.

    Raises:
        ValueError: if it is another one.
    """
    if not isinstance(network, AttributeNetwork):
        raise ValueError(f"attributes are trained with an AttributeNetwork, got {type(network).__name__}")
    return network
