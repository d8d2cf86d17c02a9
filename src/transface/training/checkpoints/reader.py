"""Finds and reads checkpoints as plain tensors and values, without the trainer: nothing here imports Lightning."""

from pathlib import Path
from typing import Any

import torch

from transface.backbones.weights.files import TRAINER_FILE, trainer_file
from transface.backbones.weights.hub import local_path
from transface.backbones.weights.plain_pickles import read_plain, reason_of
from transface.file_kinds import described_file


def complete_checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints of a folder, the oldest first; half-written ones never carry this name."""
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit() and (path / TRAINER_FILE).is_file()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def find_checkpoint(path: str | Path) -> Path:
    """Return the `trainer.ckpt` that a run folder, a checkpoint folder or a file means; of a run: best, else last.

    Raises:
        FileNotFoundError: where there is none.
    """
    path = local_path(path)
    if path.is_file():
        return path
    if (found := trainer_file(path)) is not None:
        return found
    raise FileNotFoundError(
        f"no checkpoint at {path}: give a run folder, a folder of runs/<name>/checkpoints, or a .ckpt file"
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint file holds, on the CPU; code inside it is refused, never run.

    Raises:
        ValueError: if the file is no checkpoint, or holds anything but tensors and plain values.
    """
    file = find_checkpoint(path)
    try:
        content = read_plain(file, mmap=True)
    except (
        Exception
    ) as error:  # a mutated file makes the reader fail in any way: IndexError, TypeError, OverflowError ...
        reason = described_file(file) or reason_of(error)
        raise ValueError(
            f"{file} is not a checkpoint that can be opened safely ({reason}): expected tensors and plain values only"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected a checkpoint of transface")
    return content


def tensors_of(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of a state dict, without the other things that modules keep in it."""
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def check_same_architecture(own: dict[str, torch.Tensor], stored: dict[str, torch.Tensor], *, where: str) -> None:
    """Raise where two state dicts differ in names or shapes.

    Raises:
        ValueError: naming the first few differences.
    """
    missing, extra = [n for n in own if n not in stored], [n for n in stored if n not in own]
    differing = [
        f"{n} {tuple(stored[n].shape)} instead of {tuple(own[n].shape)}"
        for n in own
        if n in stored and own[n].shape != stored[n].shape
    ]
    if missing or extra or differing:
        parts = [
            f"lacks {_some(missing)}" if missing else "",
            f"has {_some(extra)} besides" if extra else "",
            f"has {_some(differing)}" if differing else "",
        ]
        raise ValueError(
            f"{where} is a checkpoint of another architecture: it {', '.join(p for p in parts if p)}; choose the"
            " backbone it was trained with"
        )


def _some(names: list[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
