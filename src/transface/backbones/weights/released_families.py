"""How each released family names its weights, and how those names become ours.

Facts about key names and input channels only. A family trained on BGR images gets the channels of its first convolution
turned round, so that every backbone here takes RGB.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from transface.backbones.weights.state_dicts import HEAD_PREFIXES, bare_weights, listed

State = Mapping[str, Tensor]
Channels = Literal["rgb", "bgr"]
IR_WIDTHS = (64, 128, 256, 512)
VIT_NAMES = {
    "senet.0.": "gate.squeeze.",
    "senet.2.": "gate.excite.",
    "feature.0.": "neck.project.",
    "feature.1.": "neck.project_norm.",
    "feature.2.": "neck.embed.",
    "feature.3.": "neck.embed_norm.",
    "keypoint_linear.": "keypoint_positions.linear.",
}
IR_NAMES = {
    "input_layer.0.": "conv1.",
    "input_layer.1.": "bn1.",
    "input_layer.2.": "prelu.",
    "output_layer.0.": "bn2.",
    "output_layer.3.": "fc.",
    "output_layer.4.": "features.",
}
UNIT_NAMES = {
    "res_layer.0.": "bn1.",
    "res_layer.1.": "conv1.",
    "res_layer.2.": "bn2.",
    "res_layer.3.": "prelu.",
    "res_layer.4.": "conv2.",
    "res_layer.5.": "bn3.",
    "shortcut_layer.": "downsample.",
}


class Family(NamedTuple):
    """A naming.

    Attributes:
        name: what users know it by.
        keys: all of these are in a state dict of the family.
        prefix: which its keys come with; "" is any.
        to_ours: its state dict in the names of our backbone.
        architecture: the file of transface.backbones that holds its backbone.
        first_convolution: our name of the weight that meets the image.
        channels: "rgb" or "bgr", as the family was trained.
    """

    name: str
    keys: frozenset[str]
    prefix: str
    to_ours: Callable[[State], State]
    architecture: str
    first_convolution: str
    channels: str


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for theirs, ours in names.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def vit_to_ours(state: State) -> State:
    """Return the weights of a TransFace, arcface_torch or CVLface vision transformer in the names of FaceViT."""
    return {_renamed(key, VIT_NAMES): value for key, value in state.items()}


def ir_to_ours(state: State) -> State:
    """Return the weights of an AdaFace or CVLface IR network in the names of IResNet; its last norm has neither weight
    nor bias.

    Raises:
        ValueError: if its units are bottlenecks (IR-152, IR-200) or have squeeze and excitation (IR-SE), which IResNet
            does not have.
    """
    if any(".se_block." in key for key in state):
        raise ValueError("IR networks with squeeze and excitation (IR-SE) are not supported; IR-18, 34, 50 and 101 are")
    widths = {key.split(".")[1]: len(value) for key, value in state.items() if key.endswith("res_layer.1.weight")}
    if any(key.startswith("body.0.res_layer.7.") for key in state) or not set(widths.values()) <= set(IR_WIDTHS):
        raise ValueError(
            "IR networks of bottleneck units (IR-152, IR-200) are not supported; IR-18, 34, 50 and 101 are"
        )
    names: dict[str, str] = {}
    for stage, width in enumerate(IR_WIDTHS, start=1):
        units = sorted((unit for unit in widths if widths[unit] == width), key=int)
        names |= {f"body.{unit}.": f"layer{stage}.{position}." for position, unit in enumerate(units)}
    ours = {}
    for key, value in state.items():
        unit, dot, rest = key.partition(".res_layer.") if ".res_layer." in key else key.partition(".shortcut_layer.")
        inside = names.get(f"{unit}.")
        ours[inside + _renamed(dot.removeprefix(".") + rest, UNIT_NAMES) if inside else _renamed(key, IR_NAMES)] = value
    size = len(ours["fc.bias"]) if "fc.bias" in ours else 0
    return {"features.weight": torch.ones(size), "features.bias": torch.zeros(size)} | ours


def _as_they_are(state: State) -> State:
    return state


OWN_FAMILY = "transface FaceViT"
_VIT = frozenset({"patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight", "feature.2.weight"})
_IR = frozenset({"input_layer.0.weight", "body.0.res_layer.1.weight", "output_layer.3.weight"})
_IRESNET = frozenset({"conv1.weight", "layer1.0.bn3.weight", "fc.weight", "features.running_mean"})
_MOBILE = frozenset(
    {
        "layers.0.layers.0.weight",
        "conv_sep.layers.0.weight",
        "features.layers.0.layers.0.weight",
        "features.layers.2.weight",
    }
)
_OWN = frozenset({"patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight", "neck.embed.weight"})
_PROJECTION = "patch_embed.proj.weight"
_SENET = frozenset({"senet.0.weight", "senet.2.weight"})

# The first that fits is taken, so the narrower naming stands before the wider.
FAMILIES = (
    Family(OWN_FAMILY, _OWN, "", _as_they_are, "face_vit", _PROJECTION, "rgb"),
    Family("TransFace", _VIT | _SENET, "", vit_to_ours, "face_vit", _PROJECTION, "rgb"),
    Family("CVLface KP-RPE", _VIT | {"keypoint_linear.weight"}, "", vit_to_ours, "face_vit", _PROJECTION, "rgb"),
    Family("CVLface ViT", _VIT, "net.", vit_to_ours, "face_vit", _PROJECTION, "rgb"),
    Family("arcface_torch ViT", _VIT, "", vit_to_ours, "face_vit", _PROJECTION, "rgb"),
    Family("arcface_torch IResNet", _IRESNET, "", _as_they_are, "iresnet", "conv1.weight", "rgb"),
    Family("CVLface IR", _IR, "net.", ir_to_ours, "iresnet", "conv1.weight", "rgb"),
    Family("AdaFace IR", _IR, "", ir_to_ours, "iresnet", "conv1.weight", "bgr"),
    Family(
        "arcface_torch MobileFaceNet", _MOBILE, "", _as_they_are, "mobilefacenet", "layers.0.layers.0.weight", "rgb"
    ),
)


class ReleasedWeights(NamedTuple):
    """A state dict in our names, taking RGB images, and the family it came from."""

    state: dict[str, Tensor]
    family: Family


def read_released(source: str | Path | Mapping[str, Any], *, channels: Channels | None = None) -> ReleasedWeights:
    """Return released weights in our names and taking RGB, with their family.

    Raises:
        FileNotFoundError, ValueError: as bare_weights, and if the family is unknown.
    """
    if channels not in {None, "rgb", "bgr"}:
        raise ValueError(f"channels must be 'rgb' or 'bgr', got {channels!r}")
    bare = bare_weights(source)
    if any(".rpe" in key for key in bare.state):
        raise ValueError(
            "relative positions with tables in every block (iRPE) are not supported; CVLface's KP-RPE, one"
            " keypoint_linear for the whole network, is"
        )
    family = recognise(bare.state, prefix=bare.prefix)
    state = dict(family.to_ours({key: value for key, value in bare.state.items() if not key.startswith(HEAD_PREFIXES)}))
    if (channels or family.channels) == "bgr":
        state[family.first_convolution] = state[family.first_convolution].flip(1)
    return ReleasedWeights(state, family)


def recognise(state: Mapping[str, Tensor], *, prefix: str = "") -> Family:
    """Return the family whose keys these are; `prefix` is what stood before them.

    Raises:
        ValueError: if there is none, naming some of the keys that came.
    """
    for family in FAMILIES:
        if state.keys() >= family.keys and prefix.endswith(family.prefix):
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise ValueError(
        f"weights of no known family ({known}); their keys begin {listed(tuple(state))}. Build their network and open"
        " them with transface.load(path, backbone=network), rename the keys to those of a family, or export the network"
        " to .onnx where it was made"
    )
