"""Opens released weights: recognises their family by the keys, builds the backbone of their shapes, loads it
strictly.
"""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transface.backbones.face_vit import FaceViT
from transface.backbones.iresnet import WIDTHS, IResNet
from transface.backbones.mobilefacenet import MobileFaceNet
from transface.backbones.parts.keypoint_positions import NUM_BUCKETS
from transface.backbones.weights.rebuild import config_of
from transface.backbones.weights.released_families import OWN_FAMILY, Channels, Family, State, num_units, read_released
from transface.backbones.weights.state_dicts import load_strictly

log = logging.getLogger(__name__)
NARROW = 128
FACE_HEIGHT = 112
SQUARE_SIDES = (112, 224, 96, 128, 160, 192, 256)  # of images in use, the usual first
# Axes of the weights from which sizes are read.
RANKS: dict[str, dict[str, int]] = {
    "face_vit": {
        "patch_embed.proj.weight": 4,
        "pos_embed": 3,
        "blocks.0.mlp.fc1.weight": 2,
        "neck.embed.weight": 2,
        "register_tokens": 3,
        "keypoint_positions.linear.weight": 2,
    },
    "iresnet": {"fc.weight": 2},
    "mobilefacenet": {
        "layers.0.layers.0.weight": 4,
        "features.layers.0.layers.0.weight": 4,
        "features.layers.2.weight": 2,
    },
}


def load_released(
    source: str | Path | Mapping[str, Any],
    *,
    num_heads: int | None = None,
    channels: Channels | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> nn.Module:
    """Return the backbone, in eval mode, that a released state dict was made by, with its weights.

    Width, depth, patch size, grid and embedding size follow from the shapes. Whatever channels the weights were trained
    on, the backbone takes RGB.

    Args:
        source: a .pt/.pth/.ckpt/.safetensors file, or a state dict; prefixes such as `module.` are taken off.
        num_heads: of a vision transformer, where no shape tells it; without it that of the released models (4 below
            width 128).
        channels: those the weights were trained on, where the family's usual ones are wrong (AdaFace bgr, all others
            rgb).
        image_size: of a vision transformer, where no shape tells it (112 if the grid fits it, else that of whole
            patches): the remainder beyond the last whole patch is not seen.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no state dict, holds code, is of no known family, or some weights do not fit (all are
            listed).
    """
    state, family = read_released(source, channels=channels)
    if (num_heads, image_size) != (None, None) and family.architecture != "face_vit":
        word = "image_size" if num_heads is None else "num_heads"
        raise ValueError(f"{word} is for vision transformers; these are {family.name} weights")
    if family.name == OWN_FAMILY and num_heads is None:
        log.warning(
            "the number of heads is in no shape of a bare state dict: that of the released models is taken;"
            " num_heads=... says otherwise"
        )
    is_vit = family.architecture == "face_vit"
    _check_ranks(state, family)
    model = build_vit(state, num_heads, image_size=image_size) if is_vit else BUILDERS[family.architecture](state)
    # Models trained without token drop have no mask token; evaluation needs none.
    load_strictly(
        model,
        state,
        origin=f"{family.name} weights",
        may_be_absent=("mask_token",),
        called=lambda key: family.prefix + family.to_theirs(key, state),
    )
    if "mask_token" not in state and isinstance(model, FaceViT):
        nn.init.zeros_(model.get_parameter("mask_token"))  # not as it was drawn: a file has one fingerprint
    return model.eval()


def _check_ranks(state: State, family: Family) -> None:
    """Raise ValueError for weights from which sizes are read, where they have too few or too many dimensions for it, or
    hold nothing.
    """
    for key, axes in RANKS[family.architecture].items():
        if key in state and (state[key].ndim != axes or 0 in state[key].shape):
            name = family.prefix + family.to_theirs(key, state)
            raise ValueError(
                f"{family.name} weights: {name} must have {axes} dimensions, got the shape {tuple(state[key].shape)}"
            )


def image_sides_of(num_cells: int, *, cell: int) -> tuple[int, int]:
    """Return height and width of the images behind a map of so many cells of `cell` pixels.

    A square where the number is one; else faces are 112 pixels high (112x96 is usual), or as near to a square as can
    be, upright. Where patches leave a remainder of the image unseen, the side is one in use (112, 224, 96, ...) if that
    fits.
    """
    side = math.isqrt(num_cells)
    rows = FACE_HEIGHT // cell
    if side * side == num_cells:
        return _side_of(side, cell), _side_of(side, cell)
    if rows and num_cells % rows == 0 and rows // 2 < num_cells // rows < rows:
        return FACE_HEIGHT, _side_of(num_cells // rows, cell)
    columns = next(number for number in range(side, 0, -1) if num_cells % number == 0)
    return num_cells // columns * cell, columns * cell


def _side_of(num_cells: int, cell: int) -> int:
    """Return the side in pixels of so many cells: one in use that they fit in, else without a remainder."""
    return next((side for side in SQUARE_SIDES if side // cell == num_cells), num_cells * cell)


def build_vit(
    state: State, num_heads: int | None = None, *, image_size: int | tuple[int, int] | None = None
) -> FaceViT:
    """Return a FaceViT of the shapes in `state`; with a gate, registers and KP-RPE if it holds them.

    Raises:
        ValueError: if its relative positions are not those of each block and head, or of another number of heads.
    """
    width, _, patch_size, _ = state["patch_embed.proj.weight"].shape
    mlp_ratio = state["blocks.0.mlp.fc1.weight"].shape[0] / width
    # No shape tells the heads: 8 in all released models but CVLface's base, the one with an MLP ratio of 3.
    usual_heads = 4 if width < NARROW else 16 if mlp_ratio == 3 else 8
    depth = num_units(state, "blocks.")
    relative = state.get("keypoint_positions.linear.weight")
    if relative is not None:
        num_heads = _keypoint_heads(len(relative), depth, num_heads)
    registers = state.get("register_tokens")
    usual_size = image_sides_of(state["pos_embed"].shape[1], cell=patch_size)
    return FaceViT(
        usual_size if image_size is None else image_size,
        patch_size,
        embed_dim=width,
        depth=depth,
        num_heads=usual_heads if num_heads is None else num_heads,
        mlp_ratio=mlp_ratio,
        embedding_size=state["neck.embed.weight"].shape[0],
        num_registers=0 if registers is None else registers.shape[1],
        relative_positions="none" if relative is None else "keypoints",
        gate="sigmoid" if any(key.startswith("gate.") for key in state) else "none",
    )


def _keypoint_heads(num_rows: int, depth: int, num_heads: int | None) -> int:
    """Return the heads that the layer of relative positions tells: a row for each block, head and bucket."""
    heads, left = divmod(num_rows, depth * NUM_BUCKETS)
    # One encoding a block has as many rows as one head would have: no released model has one head.
    if left or num_heads not in (None, heads) or (heads == 1 and num_heads is None):
        raise ValueError(
            f"relative positions by key points must have {NUM_BUCKETS} rows for each of {depth} blocks and each head"
            f" (all released models have), got {num_rows} rows" + ("" if num_heads is None else f" and {num_heads=}")
        )
    return heads


def build_iresnet(state: State) -> IResNet:
    """Return an IResNet of the shapes in `state`."""
    depths = [num_units(state, f"layer{stage}.") for stage in (1, 2, 3, 4)]
    embedding_size, inputs = state["fc.weight"].shape
    return IResNet(
        depths,
        image_size=image_sides_of(inputs // WIDTHS[-1], cell=16),
        embedding_size=embedding_size,
        first_shortcut="convolution" if any(key.startswith("layer1.0.downsample.") for key in state) else "subsample",
    )


def build_mobilefacenet(state: State) -> MobileFaceNet:
    """Return a MobileFaceNet of the shapes in `state`."""
    depths, kernel = [], state["features.layers.0.layers.0.weight"].shape
    for stack in (1, 3, 5, 7):
        # A stack's keys are layers.<stack>.layers.<unit>.layers...; a stage of one unit stands without a stack.
        keys = [key.split(".") for key in state if key.startswith(f"layers.{stack}.layers.")]
        depths.append(1 + max((int(words[3]) for words in keys if words[4] == "layers"), default=0))
    return MobileFaceNet(
        depths,
        width=len(state["layers.0.layers.0.weight"]) // 64,
        image_size=(16 * kernel[2], 16 * kernel[3]),
        embedding_size=len(state["features.layers.2.weight"]),
    )


BUILDERS: dict[str, Callable[[State], nn.Module]] = {"iresnet": build_iresnet, "mobilefacenet": build_mobilefacenet}


def sizes_of(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the architecture that released weights are of, and the sizes their shapes tell, by the names of its
    constructor; none for a vision transformer.

    Raises:
        FileNotFoundError, ValueError: as load_released.
    """
    state, family = read_released(source)
    builder = BUILDERS.get(family.architecture)
    if builder is None:
        return family.architecture, {}
    with torch.device("meta"):  # nothing is drawn: a run's random numbers stay those of its seed
        built = config_of(builder(state))
    names = ("depths", "width", "image_size", "embedding_size", "first_shortcut")
    return family.architecture, {name: built[name] for name in names if name in built}
