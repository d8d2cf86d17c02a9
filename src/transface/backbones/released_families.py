"""How each released family names its weights, and which backbone of ours they belong to.

Facts about key names and input channels only. A family trained on BGR images gets the channels of its first convolution turned round, so
that every backbone here takes RGB.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .face_vit import FaceViT
from .iresnet import WIDTHS, IResNet
from .mobilefacenet import MobileFaceNet

State = Mapping[str, Tensor]
NARROW = 128
VIT_NAMES = {
    "senet.0.": "gate.squeeze.",
    "senet.2.": "gate.excite.",
    "feature.0.": "neck.project.",
    "feature.1.": "neck.project_norm.",
    "feature.2.": "neck.embed.",
    "feature.3.": "neck.embed_norm.",
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
        build: the fresh backbone for a state dict in our names; a transformer's takes num_heads too.
        first_convolution: our name of the weight that meets the image.
        channels: "rgb" or "bgr", as the family was trained.
    """

    name: str
    keys: frozenset[str]
    prefix: str
    to_ours: Callable[[State], State]
    build: Callable[..., nn.Module]
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


def build_vit(state: State, num_heads: int | None = None) -> FaceViT:
    """Return a FaceViT of the shapes in `state`; with a gate if it holds one."""
    width, _, patch_size, _ = state["patch_embed.proj.weight"].shape
    rows = round(state["pos_embed"].shape[1] ** 0.5)
    mlp_ratio = state["blocks.0.mlp.fc1.weight"].shape[0] / width
    # No shape tells the heads: 8 in all released models but CVLface's base, the one with an MLP ratio of 3.
    usual_heads = 4 if width < NARROW else 16 if mlp_ratio == 3 else 8
    return FaceViT(
        112 if 112 // patch_size == rows else rows * patch_size,
        patch_size,
        embed_dim=width,
        depth=1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
        num_heads=num_heads or usual_heads,
        mlp_ratio=mlp_ratio,
        embedding_size=state["neck.embed.weight"].shape[0],
        gate="sigmoid" if "gate.squeeze.weight" in state else "none",
    )


def ir_to_ours(state: State) -> State:
    """Return the weights of an AdaFace or CVLface IR network in the names of IResNet; its last norm has neither weight nor bias.

    Raises:
        ValueError: if its units are bottlenecks (IR-152, IR-200), which IResNet does not have.
    """
    widths = {key.split(".")[1]: len(value) for key, value in state.items() if key.endswith("res_layer.1.weight")}
    if any(key.startswith("body.0.res_layer.7.") for key in state) or not set(widths.values()) <= set(WIDTHS):
        raise ValueError("IR networks of bottleneck units (IR-152, IR-200) are not supported; IR-18, 34, 50 and 101 are")
    names: dict[str, str] = {}
    for stage, width in enumerate(WIDTHS, start=1):
        units = sorted((unit for unit in widths if widths[unit] == width), key=int)
        names |= {f"body.{unit}.": f"layer{stage}.{position}." for position, unit in enumerate(units)}
    ours = {}
    for key, value in state.items():
        unit, dot, rest = key.partition(".res_layer.") if ".res_layer." in key else key.partition(".shortcut_layer.")
        inside = names.get(f"{unit}.")
        ours[inside + _renamed(dot.removeprefix(".") + rest, UNIT_NAMES) if inside else _renamed(key, IR_NAMES)] = value
    size = len(ours["fc.bias"]) if "fc.bias" in ours else 0
    return {"features.weight": torch.ones(size), "features.bias": torch.zeros(size)} | ours


def build_iresnet(state: State) -> IResNet:
    """Return an IResNet of the shapes in `state`."""
    depths = [1 + max(int(key.split(".")[1]) for key in state if key.startswith(f"layer{stage}.")) for stage in (1, 2, 3, 4)]
    embedding_size, inputs = state["fc.weight"].shape
    return IResNet(
        depths,
        image_size=16 * round((inputs / WIDTHS[-1]) ** 0.5),
        embedding_size=embedding_size,
        first_shortcut="convolution" if "layer1.0.downsample.0.weight" in state else "subsample",
    )


def build_mobilefacenet(state: State) -> MobileFaceNet:
    """Return a MobileFaceNet of the shapes in `state`."""
    depths = []
    for stack in (1, 3, 5, 7):
        # A stack's keys are layers.<stack>.layers.<unit>.layers...; a stage of one unit stands without a stack.
        keys = [key.split(".") for key in state if key.startswith(f"layers.{stack}.layers.")]
        depths.append(1 + max((int(words[3]) for words in keys if words[4] == "layers"), default=0))
    return MobileFaceNet(
        depths,
        width=len(state["layers.0.layers.0.weight"]) // 64,
        image_size=16 * state["features.layers.0.layers.0.weight"].shape[2],
        embedding_size=len(state["features.layers.2.weight"]),
    )


def _as_they_are(state: State) -> State:
    return state


_VIT = frozenset({"patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight", "feature.2.weight"})
_IR = frozenset({"input_layer.0.weight", "body.0.res_layer.1.weight", "output_layer.3.weight"})
_IRESNET = frozenset({"conv1.weight", "layer1.0.bn3.weight", "fc.weight", "features.running_mean"})
_MOBILE = frozenset({"layers.0.layers.0.weight", "conv_sep.layers.0.weight", "features.layers.0.layers.0.weight", "features.layers.2.weight"})
_OWN = frozenset({"patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight", "neck.embed.weight"})
_PROJECTION = "patch_embed.proj.weight"
_SENET = frozenset({"senet.0.weight", "senet.2.weight"})

# The first that fits is taken, so the narrower naming stands before the wider.
FAMILIES = (
    Family("transface FaceViT", _OWN, "", _as_they_are, build_vit, _PROJECTION, "rgb"),
    Family("TransFace", _VIT | _SENET, "", vit_to_ours, build_vit, _PROJECTION, "rgb"),
    Family("CVLface ViT", _VIT, "net.", vit_to_ours, build_vit, _PROJECTION, "rgb"),
    Family("arcface_torch ViT", _VIT, "", vit_to_ours, build_vit, _PROJECTION, "rgb"),
    Family("arcface_torch IResNet", _IRESNET, "", _as_they_are, build_iresnet, "conv1.weight", "rgb"),
    Family("CVLface IR", _IR, "net.", ir_to_ours, build_iresnet, "conv1.weight", "rgb"),
    Family("AdaFace IR", _IR, "", ir_to_ours, build_iresnet, "conv1.weight", "bgr"),
    Family("arcface_torch MobileFaceNet", _MOBILE, "", _as_they_are, build_mobilefacenet, "layers.0.layers.0.weight", "rgb"),
)
