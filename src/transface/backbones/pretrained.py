"""Opens released weights: reads a plain state dict, recognises its family by its keys, builds the backbone, loads it strictly.

No checkpoint is ever executed: files are read with weights_only, so a pickle that holds code is refused.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .released_families import FAMILIES, Family, build_vit

WRAPPERS = ("state_dict", "state_dict_backbone", "model", "model_state_dict", "backbone")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.")
HEAD_PREFIXES = ("head.", "classifier.")
NEW_PARTS = ("gate.", "neck.")
NUM_LISTED = 12


class Misfits(NamedTuple):
    """What did not fit: keys the model wants and lacks, keys it does not know, and those of another shape (as sentences)."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __str__(self) -> str:
        parts = zip(("missing", "unexpected", "of another shape"), self, strict=True)
        return "; ".join(f"{len(keys)} {word}: {_listed(keys)}" for word, keys in parts if keys) or "everything fits"


class ReleasedWeights(NamedTuple):
    """A state dict in our names, taking RGB images, and the family it came from."""

    state: dict[str, Tensor]
    family: Family


def load_released(
    source: str | Path | Mapping[str, Any], *, num_heads: int | None = None, channels: Literal["rgb", "bgr"] | None = None
) -> nn.Module:
    """Return the backbone, in eval mode, that a released state dict was made by, with its weights.

    Width, depth, patch size, grid and embedding size follow from the shapes. Whatever channels the weights were trained on, the backbone
    takes RGB.

    Args:
        source: a .pt/.pth/.ckpt/.safetensors file, or a state dict; prefixes such as `module.` are taken off.
        num_heads: of a vision transformer, where no shape tells it; without it that of the released models (4 below width 128).
        channels: those the weights were trained on, where the family's usual ones are wrong (AdaFace bgr, all others rgb).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no state dict, holds code, is of no known family, or some weights do not fit (all are listed).
    """
    state, family = read_released(source, channels=channels)
    if num_heads is not None and family.build is not build_vit:
        raise ValueError(f"num_heads is for vision transformers; these are {family.name} weights")
    model = family.build(state) if num_heads is None else family.build(state, num_heads)
    # Models trained without token drop have no mask token; evaluation needs none.
    load_strictly(model, state, origin=f"{family.name} weights", may_be_absent=("mask_token",))
    return model.eval()


def load_pretrained(
    backbone: nn.Module,
    source: str | Path | Mapping[str, Any],
    *,
    channels: Literal["rgb", "bgr"] | None = None,
    may_be_absent: tuple[str, ...] = NEW_PARTS,
) -> tuple[str, ...]:
    """Load weights into a backbone that stands already, for fine-tuning, and return the names that kept their fresh values.

    Released weights are brought into our names; others must have them. Only parts whose names begin with `may_be_absent` may be fresh.

    Raises:
        FileNotFoundError, ValueError: as load_released.
    """
    bare = _bare(read_state_dict(source) if isinstance(source, str | Path) else source)
    own = backbone.state_dict().keys()
    named_as_ours = channels is None and bare.state.keys() <= own
    state = bare.state if named_as_ours else read_released(source, channels=channels).state
    return load_strictly(backbone, state, origin="the weights", may_be_absent=(*may_be_absent, "mask_token"))


def read_released(source: str | Path | Mapping[str, Any], *, channels: Literal["rgb", "bgr"] | None = None) -> ReleasedWeights:
    """Return released weights in our names and taking RGB, with their family.

    Raises:
        FileNotFoundError, ValueError: as load_released.
    """
    if channels not in {None, "rgb", "bgr"}:
        raise ValueError(f"channels must be 'rgb' or 'bgr', got {channels!r}")
    bare = _bare(read_state_dict(source) if isinstance(source, str | Path) else source)
    family = recognise(bare.state, prefix=bare.prefix)
    state = dict(family.to_ours(bare.state))
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
    raise ValueError(f"weights of no known family ({known}); their keys begin {_listed(tuple(state))}")


def read_state_dict(path: str | Path) -> dict[str, Any]:
    """Return the dict in a checkpoint file, unwrapped from `state_dict` and its like, on the CPU, without running any code in it.

    Raises:
        FileNotFoundError, ValueError: as load_released.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} holds more than tensors and plain values; nothing in it was run: {_first_line(error)}") from error
    except Exception as error:  # a mutated file makes the reader fail in any way: IndexError, TypeError, OverflowError ...
        raise ValueError(f"{path} is no checkpoint that torch or safetensors can read: {_first_line(error)}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold a state dict (names to tensors), got {type(content).__name__}")
    return dict(_unwrapped(content, origin=str(path)))


def _unwrapped(content: Mapping[str, Any], *, origin: str) -> Mapping[str, Any]:
    """Return the state dict inside a checkpoint's dict."""
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    odd = [f"{key} ({type(value).__name__})" for key, value in content.items() if not isinstance(value, Tensor | np.ndarray)]
    if odd or not content:
        raise ValueError(f"{origin} must hold a state dict (names to tensors), got " + (", ".join(odd[:NUM_LISTED]) or "an empty one"))
    return content


def find_misfits(model: nn.Module, state: Mapping[str, Tensor]) -> Misfits:
    """Return what of `state` does not fit `model`; a missing batch counter of a batch norm is no misfit."""
    own = model.state_dict()
    missing = tuple(key for key in own if key not in state and not key.endswith("num_batches_tracked"))
    unexpected = tuple(key for key in state if key not in own)
    reshaped = tuple(
        f"{key} is {tuple(state[key].shape)}, the model has {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    )
    return Misfits(missing, unexpected, reshaped)


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], *, origin: str, may_be_absent: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Load `state` into `model` and return the keys that kept their fresh values; those begin with a word of `may_be_absent`.

    Raises:
        ValueError: listing everything that did not fit, before anything was changed.
    """
    misfits = find_misfits(model, state)
    fresh = tuple(key for key in misfits.missing if may_be_absent and key.startswith(may_be_absent))
    wrong = misfits._replace(missing=tuple(key for key in misfits.missing if key not in fresh))
    if any(wrong):
        raise ValueError(f"{origin} do not fit {type(model).__name__}: {wrong}")
    model.load_state_dict(dict(state), strict=False)
    return fresh


class _Bare(NamedTuple):
    """A state dict without the prefix its keys shared, and that prefix."""

    state: dict[str, Tensor]
    prefix: str


def _bare(state: Mapping[str, Any]) -> _Bare:
    """Return the tensors, without prefixes that all keys share and without a classification head beside the backbone."""
    tensors = {key: torch.as_tensor(value) for key, value in _unwrapped(state, origin="the weights").items()}
    found, taken = "", True
    while taken:
        taken = False
        for prefix in PREFIXES:
            inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            outside = [key for key in tensors if not key.startswith(prefix)]
            if inside and all(key.startswith(HEAD_PREFIXES) for key in outside):
                tensors, taken, found = inside, True, found + prefix
    return _Bare(tensors, found)


def _listed(keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:NUM_LISTED])
    return f"{shown} and {len(keys) - NUM_LISTED} more" if len(keys) > NUM_LISTED else shown


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]
