"""Plain state dicts: read without running anything, taken out of their wrappings, loaded strictly with a list of what
did not fit.

No checkpoint is ever executed: files are read with weights_only, so a pickle that holds code is refused.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from transface.backbones.weights.files import is_of_our_trainer, network_weights, weights_file
from transface.backbones.weights.plain_pickles import read_plain, reason_of
from transface.file_kinds import described_file

WRAPPERS = (
    "state_dict",
    "state_dict_backbone",
    "model",
    "model_state_dict",
    "net",
    "network",
    "module",
    "weights",
    "backbone",
)
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.")
HEAD_PREFIXES = ("head.", "classifier.", "margin.", "loss.", "criterion.")
LOOSE_HEADS = ("arcface.", "logits.", "fc.", "kernel", "weight")  # heads too, where a prefix marks the backbone
AVERAGED = ("n_averaged",)  # the counter beside the weights of torch.optim.swa_utils.AveragedModel
NUM_LISTED = 12
WANTED = "Expected a state dict of tensors (.pt, .pth, .ckpt, .safetensors)"


class Misfits(NamedTuple):
    """What did not fit: keys the model wants and lacks, keys it does not know, and those of another shape or type
    (as sentences).
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __str__(self) -> str:
        parts = zip(("missing", "unexpected", "of another shape or type"), self, strict=True)
        return "; ".join(f"{len(keys)} {word}: {listed(keys)}" for word, keys in parts if keys) or "everything fits"


class BareWeights(NamedTuple):
    """A state dict without the prefix its keys shared, and that prefix."""

    state: dict[str, Tensor]
    prefix: str


def bare_weights(source: str | Path | Mapping[str, Any]) -> BareWeights:
    """Return the tensors of a file or a dict, without prefixes that all keys share and without a classification head
    beside the backbone.

    Raises:
        FileNotFoundError, ValueError: as read_state_dict.
    """
    content = read_state_dict(source) if isinstance(source, str | Path) else _unwrapped(source, origin="the weights")
    tensors = {key: torch.as_tensor(value) for key, value in content.items()}
    found, taken = "", True
    while taken:
        taken = False
        for prefix in PREFIXES:
            inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            outside = [key for key in tensors if not key.startswith(prefix)]
            if inside and all(key.startswith(HEAD_PREFIXES + LOOSE_HEADS + AVERAGED) for key in outside):
                tensors, taken, found = inside, True, found + prefix
    return BareWeights(tensors, found)


def read_state_dict(path: str | Path) -> dict[str, Any]:
    """Return the state dict in a file, unwrapped from `state_dict` and its like, on the CPU, without running any code
    in it.

    A run folder means its best checkpoint, an exported folder its weights; of what our trainer saved it is the
    backbone's part.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no state dict or holds code.
    """
    path = weights_file(path)
    try:
        content = load_file(path) if path.suffix == ".safetensors" else read_plain(path)
    except pickle.UnpicklingError as error:
        if said := described_file(path):
            raise ValueError(f"{path} is {said}. {WANTED}") from error
        raise ValueError(
            f"{path} holds more than tensors and plain values; nothing in it was run: {reason_of(error)}"
        ) from error
    except (
        Exception
    ) as error:  # a mutated file makes the reader fail in any way: IndexError, TypeError, OverflowError ...
        raise ValueError(
            f"{path} is no checkpoint that torch or safetensors can read: {described_file(path) or reason_of(error)}"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold a state dict (names to tensors), got {type(content).__name__}")
    content = network_weights(content) if is_of_our_trainer(content) else content
    return dict(_unwrapped(content, origin=str(path)))


def _unwrapped(content: Mapping[str, Any], *, origin: str) -> Mapping[str, Any]:
    """Return the state dict inside a checkpoint's dict."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{origin} must be a file or a state dict (names to tensors), got {type(content).__name__}")
    while (inside := _wrapped_state(content, origin=origin)) is not None:
        content = inside
    odd = [
        f"{key} ({type(value).__name__})"
        for key, value in content.items()
        if not isinstance(value, Tensor | np.ndarray)
    ]
    odd += [f"the key {key!r} ({type(key).__name__})" for key in content if not isinstance(key, str)]
    if odd or not content:
        raise ValueError(
            f"{origin} must hold a state dict (names to tensors), got "
            + (", ".join(odd[:NUM_LISTED]) or "an empty one")
        )
    return content


def _wrapped_state(content: Mapping[str, Any], *, origin: str) -> Mapping[str, Any] | None:
    """Return what lies one wrapping further in: under a usual key, or under the only key that leads to a state dict.

    Raises:
        ValueError: if several other keys do.
    """
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            return dict(content[wrapper])
    if content and all(isinstance(value, Tensor | np.ndarray) for value in content.values()):
        return None
    found = [key for key, value in content.items() if _leads_to_state(value)]
    if len(found) > 1:
        raise ValueError(
            f"{origin} holds several state dicts, under {listed(tuple(map(str, found)))}: save the one wanted in"
            " a file of its own (torch.save(torch.load(path, weights_only=True)[KEY], 'weights.pt'))"
        )
    return dict(content[found[0]]) if found else None


def _leads_to_state(value: Any, depth: int = 3) -> bool:
    """Return whether a value is a state dict, or a dict in which one lies."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) for key in value):
        return False
    if all(isinstance(inner, Tensor | np.ndarray) for inner in value.values()):
        return True
    return depth > 0 and any(_leads_to_state(inner, depth - 1) for inner in value.values())


def find_misfits(model: nn.Module, state: Mapping[str, Tensor], called: Callable[[str], str] = str) -> Misfits:
    """Return what of `state` does not fit `model`; a missing batch counter of a batch norm is no misfit.

    Whole numbers where the model has fractions are a misfit: quantised weights mean nothing without their scales.
    `called` gives the name under which a misfit of shape is told.
    """
    own = model.state_dict()
    missing = tuple(key for key in own if key not in state and not key.endswith("num_batches_tracked"))
    unexpected = tuple(key for key in state if key not in own)
    reshaped = tuple(
        f"{called(key)} is {told[0]}, the model has {told[1]}"
        for key in own
        if key in state and (told := _differing(state[key], own[key]))
    )
    return Misfits(missing, unexpected, reshaped)


def _differing(given: Tensor, wanted: Tensor) -> tuple[str, str] | None:
    """Return in words how a tensor differs from the wanted one in shape, layout or kind of number; None where it does
    not.
    """
    if given.layout != wanted.layout:
        return f"{given.layout} {tuple(given.shape)}", f"{wanted.layout} {tuple(wanted.shape)}"
    if given.is_floating_point() < wanted.is_floating_point():
        return f"{given.dtype} {tuple(given.shape)}", f"{wanted.dtype} {tuple(wanted.shape)}"
    return None if given.shape == wanted.shape else (f"{tuple(given.shape)}", f"{tuple(wanted.shape)}")


def load_strictly(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    origin: str,
    may_be_absent: tuple[str, ...] = (),
    called: Callable[[str], str] = str,
) -> tuple[str, ...]:
    """Load `state` into `model` and return the keys that kept their fresh values; those begin with a word of
    `may_be_absent`. `called` gives the name under which a key is told, such as that in the file.

    Raises:
        ValueError: listing everything that did not fit, before anything was changed.
    """
    misfits = find_misfits(model, state, called)
    fresh = tuple(key for key in misfits.missing if may_be_absent and key.startswith(may_be_absent))
    missing = tuple(called(key) for key in misfits.missing if key not in fresh)
    wrong = Misfits(missing, tuple(map(called, misfits.unexpected)), misfits.reshaped)
    if any(wrong):
        raise ValueError(f"{origin} do not fit {type(model).__name__}: {wrong}")
    model.load_state_dict(dict(state), strict=False)
    return fresh


def listed(keys: tuple[str, ...]) -> str:
    """Return the first of the keys, and how many more there are."""
    shown = ", ".join(keys[:NUM_LISTED])
    return f"{shown} and {len(keys) - NUM_LISTED} more" if len(keys) > NUM_LISTED else shown
