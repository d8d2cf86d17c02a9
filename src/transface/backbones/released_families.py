"""How each released family names its weights, and which backbone of ours they belong to.

Facts about key names only; where a family was trained on another channel order, `build` says so to the backbone.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from .face_vit import FaceViT

State = Mapping[str, Tensor]
NARROW = 128


class Family(NamedTuple):
    """A naming: does a state dict belong to it, the fresh backbone for it, and our name for one of its keys."""

    name: str
    matches: Callable[[State], bool]
    build: Callable[[State, int | None], nn.Module]
    rename: Callable[[str], str]


VIT_NAMES = {
    "senet.0.": "gate.squeeze.",
    "senet.2.": "gate.excite.",
    "feature.0.": "neck.project.",
    "feature.1.": "neck.project_norm.",
    "feature.2.": "neck.embed.",
    "feature.3.": "neck.embed_norm.",
}


def rename_vit(key: str) -> str:
    """Return our name for a key of the TransFace or arcface_torch vision transformer."""
    for theirs, ours in VIT_NAMES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def build_vit(state: State, num_heads: int | None) -> FaceViT:
    """Return a FaceViT of the shapes in `state`; with a gate if it holds one."""
    width, _, patch_size, _ = state["patch_embed.proj.weight"].shape
    rows = round(state["pos_embed"].shape[1] ** 0.5)
    return FaceViT(
        112 if 112 // patch_size == rows else rows * patch_size,
        patch_size,
        embed_dim=width,
        depth=1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
        num_heads=num_heads or (4 if width < NARROW else 8),
        mlp_ratio=state["blocks.0.mlp.fc1.weight"].shape[0] / width,
        embedding_size=state["feature.2.weight"].shape[0],
        gate="sigmoid" if "senet.0.weight" in state else "none",
    )


VIT_KEYS = {"patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight", "feature.2.weight"}

FAMILIES = (
    Family("TransFace", lambda state: state.keys() >= VIT_KEYS | {"senet.0.weight"}, build_vit, rename_vit),
    Family("arcface_torch ViT", lambda state: state.keys() >= VIT_KEYS, build_vit, rename_vit),
)
