"""Opens released weights: reads a plain state dict, recognises its family by its keys, builds the backbone, loads it strictly.

No checkpoint is ever executed: files are read with weights_only, so a pickle that holds code is refused.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .released_families import FAMILIES, Family

WRAPPERS = ("state_dict", "state_dict_backbone", "model", "model_state_dict", "backbone")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.")
HEAD_PREFIXES = ("head.", "classifier.")
NUM_LISTED = 12


class Misfits(NamedTuple):
    """What did not fit: keys the model wants and lacks, keys it does not know, and those of another shape (as sentences)."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __str__(self) -> str:
        parts = zip(("missing", "unexpected", "of another shape"), self, strict=True)
        return "; ".join(f"{len(keys)} {word}: {_listed(keys)}" for word, keys in parts if keys) or "everything fits"


def load_released(source: str | Path | Mapping[str, Any], *, num_heads: int | None = None) -> nn.Module:
    """Return the backbone, in eval mode, that a released state dict was made by, with its weights.

    Width, depth, patch size, grid and embedding size follow from the shapes.

    Args:
        source: a .pt/.pth/.ckpt/.safetensors file, or a state dict; prefixes such as `module.` are taken off.
        num_heads: of a vision transformer, where no shape tells it; without it the released 8, or 4 if narrower than 128.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no state dict, holds code, is of no known family, or some weights do not fit (all are listed).
    """
    state = _bare(read_state_dict(source) if isinstance(source, str | Path) else source)
    family = recognise(state)
    model = family.build(state, num_heads)
    load_strictly(model, {family.rename(key): value for key, value in state.items()}, origin=f"{family.name} weights")
    return model.eval()


def recognise(state: Mapping[str, Tensor]) -> Family:
    """Return the family whose keys these are.

    Raises:
        ValueError: if there is none, naming some of the keys that came.
    """
    for family in FAMILIES:
        if family.matches(state):
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
        raise ValueError(f"{path} holds more than tensors and plain values; nothing in it was run: {error}") from error
    except Exception as error:  # a mutated file makes the reader fail in any way: IndexError, TypeError, OverflowError ...
        raise ValueError(f"{path} is no checkpoint that torch or safetensors can read: {error}") from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} must hold a state dict (names to tensors), got {type(content).__name__}")
    return dict(content)


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


def _bare(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state dict as tensors, without prefixes that all keys share and without a classification head beside the backbone."""
    tensors = {key: torch.as_tensor(value) for key, value in state.items()}
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            outside = [key for key in tensors if not key.startswith(prefix)]
            if inside and all(key.startswith(HEAD_PREFIXES) for key in outside):
                tensors, stripped = inside, True
    return tensors


def _listed(keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:NUM_LISTED])
    return f"{shown} and {len(keys) - NUM_LISTED} more" if len(keys) > NUM_LISTED else shown
