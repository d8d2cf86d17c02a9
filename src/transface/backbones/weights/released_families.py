"""How each released family names its weights, and how those names become ours.

Facts about key names and input channels only. A family trained on BGR images gets the channels of its first convolution
turned round, so that every backbone here takes RGB.
"""

from collections import Counter
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
        prefix: which its keys come with, "" is any; of a family that was read, what stood before its keys.
        to_ours: its state dict in the names of our backbone.
        to_theirs: its name of one of our weights, given the state dict in our names.
        architecture: the file of transface.backbones that holds its backbone.
        first_convolution: our name of the weight that meets the image.
        channels: "rgb" or "bgr", as the family was trained.
    """

    name: str
    keys: frozenset[str]
    prefix: str
    to_ours: Callable[[State], State]
    to_theirs: Callable[[str, State], str]
    architecture: str
    first_convolution: str
    channels: str


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for theirs, ours in names.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def _named_back(key: str, names: Mapping[str, str]) -> str:
    return _renamed(key, {ours: theirs for theirs, ours in names.items()})


def vit_to_ours(state: State) -> State:
    """Return the weights of a TransFace, arcface_torch or CVLface vision transformer in the names of FaceViT."""
    return {_renamed(key, VIT_NAMES): value for key, value in state.items()}


def vit_to_theirs(key: str, _: State) -> str:
    """Return the name of a weight of FaceViT in TransFace, arcface_torch and CVLface."""
    return _named_back(key, VIT_NAMES)


def ir_to_ours(state: State) -> State:
    """Return the weights of an AdaFace or CVLface IR network in the names of IResNet; its last norm has neither weight
    nor bias.

    Raises:
        ValueError: if its units are bottlenecks (IR-152, IR-200) or have squeeze and excitation (IR-SE), which IResNet
            does not have.
    """
    if any(".se_block." in key for key in state):
        raise ValueError("IR networks with squeeze and excitation (IR-SE) are not supported; IR-18, 34, 50 and 101 are")
    if any(key.startswith("body.") and ".res_layer.7." in key for key in state):
        raise ValueError(
            "IR networks of bottleneck units (IR-152, IR-200) are not supported; IR-18, 34, 50 and 101 are"
        )
    names: dict[str, str] = {}
    widths = _unit_widths(state)
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


def _unit_widths(state: State) -> dict[str, int]:
    """Return the channels of each unit of an IR network: what most of its tensors say, so that one of another shape is
    found later.

    Raises:
        ValueError: for a unit of a width that no stage has.
    """
    sizes: dict[str, Counter[int]] = {}
    for key, value in state.items():
        words = key.split(".")
        of_unit = words[0] == "body" and words[1].isdecimal() and words[2:3] == ["res_layer"]
        if of_unit and words[3] != "0" and value.ndim:  # the first norm has the channels before; counters have no axis
            sizes.setdefault(words[1], Counter())[len(value)] += 1
    widths = {unit: counts.most_common(1)[0][0] for unit, counts in sizes.items()}
    odd = [f"body.{unit} has {width}" for unit, width in widths.items() if width not in IR_WIDTHS]
    if odd:
        raise ValueError(f"units of an IR network have {', '.join(map(str, IR_WIDTHS))} channels, {listed(tuple(odd))}")
    return widths


def ir_to_theirs(key: str, state: State) -> str:
    """Return the name of a weight of IResNet in AdaFace and CVLface, given the weights in our names."""
    stage, unit, *rest = key.split(".", 2)
    if not stage.startswith("layer") or not rest:
        return _named_back(key, IR_NAMES)
    before = sum(num_units(state, f"layer{earlier}.") for earlier in range(1, int(stage.removeprefix("layer"))))
    return f"body.{before + int(unit)}.{_named_back(rest[0], UNIT_NAMES)}"


def num_units(state: State, prefix: str) -> int:
    """Return how many units are numbered behind a prefix; one where there is none, whose weights are then missed by
    name.
    """
    numbers = [key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)]
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)


def _as_they_are(state: State) -> State:
    return state


def _as_it_is(key: str, _: State) -> str:
    return key


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
    Family(OWN_FAMILY, _OWN, "", _as_they_are, _as_it_is, "face_vit", _PROJECTION, "rgb"),
    Family("TransFace", _VIT | _SENET, "", vit_to_ours, vit_to_theirs, "face_vit", _PROJECTION, "rgb"),
    Family(
        "CVLface KP-RPE",
        _VIT | {"keypoint_linear.weight"},
        "",
        vit_to_ours,
        vit_to_theirs,
        "face_vit",
        _PROJECTION,
        "rgb",
    ),
    Family("CVLface ViT", _VIT, "net.", vit_to_ours, vit_to_theirs, "face_vit", _PROJECTION, "rgb"),
    Family("arcface_torch ViT", _VIT, "", vit_to_ours, vit_to_theirs, "face_vit", _PROJECTION, "rgb"),
    Family("arcface_torch IResNet", _IRESNET, "", _as_they_are, _as_it_is, "iresnet", "conv1.weight", "rgb"),
    Family("CVLface IR", _IR, "net.", ir_to_ours, ir_to_theirs, "iresnet", "conv1.weight", "rgb"),
    Family("AdaFace IR", _IR, "", ir_to_ours, ir_to_theirs, "iresnet", "conv1.weight", "bgr"),
    Family(
        "arcface_torch MobileFaceNet",
        _MOBILE,
        "",
        _as_they_are,
        _as_it_is,
        "mobilefacenet",
        "layers.0.layers.0.weight",
        "rgb",
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
    family = recognise(bare.state, prefix=bare.prefix)._replace(prefix=bare.prefix)
    state = dict(family.to_ours({key: value for key, value in bare.state.items() if not key.startswith(HEAD_PREFIXES)}))
    if (channels or family.channels) == "bgr":
        state[family.first_convolution] = state[family.first_convolution].flip(1)
    return ReleasedWeights(state, family)


def recognise(state: Mapping[str, Tensor], *, prefix: str = "") -> Family:
    """Return the family whose keys these are; `prefix` is what stood before them.

    Raises:
        ValueError: if there is none, naming the weights that the nearest lacks and some of the keys that came.
    """
    for family in FAMILIES:
        if state.keys() >= family.keys and family.prefix in prefix:  # a wrapping may stand inside: net._orig_mod.
            return family
    words = {key.split(".")[0] for key in state}

    def nearness(family: Family) -> tuple[int, int, int]:
        lacking = family.keys - state.keys()
        return len(family.keys) - len(lacking), sum(key.split(".")[0] in words for key in lacking), -len(lacking)

    nearest = max(FAMILIES, key=nearness)
    near = len(nearest.keys & state.keys()) * 2 > len(nearest.keys)
    lacking = f"; nearest is {nearest.name}, without {', '.join(sorted(nearest.keys - state.keys()))}" if near else ""
    known = ", ".join(family.name for family in FAMILIES)
    raise ValueError(
        f"weights of no known family ({known}){lacking}; their keys begin {listed(tuple(state))}. Build their network"
        " and open them with transface.load(path, backbone=network), rename the keys to those of a family, or export"
        " the network to .onnx where it was made"
    )
