"""Reads what torch.save wrote as tensors and plain values: code in it is refused by name, known harmless objects of
old checkpoints become empty placeholders.

Nothing that a file names is imported or called, but what torch itself holds for harmless.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from transface.file_kinds import refuse_zip_bomb

UNREADABLE = re.compile(r"Unsupported operand (\d+)")
REFUSED = re.compile(r"(?:Unsupported (?:global: GLOBAL|class)|unsupported GLOBAL|unrecognized function) (\S+)")


class Placeholder:
    """Stands in for an object that lies beside the weights (settings, a callback's class, a best score) and says
    nothing of them.
    """

    def __init__(self, *_: object) -> None:
        """Take whatever it was made of."""

    def __setstate__(self, state: object) -> None:
        """Forget what it held."""


# What released checkpoints hold beside their state dict: Lightning's callbacks (as keys) and settings, argparse's,
# NumPy's numbers.
PLACEHOLDERS = (
    "argparse.Namespace",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
)
DICTIONARIES = ("lightning_fabric.utilities.data.AttributeDict", "pytorch_lightning.utilities.parsing.AttributeDict")


def read_plain(path: str | Path, *, mmap: bool = False) -> Any:
    """Return what a file of torch.save holds, on the CPU; raises whatever torch does where it is broken or holds
    code.
    """
    refuse_zip_bomb(path)
    stand_ins = [
        *((type("Placeholder", (Placeholder,), {}), name) for name in PLACEHOLDERS),
        *((dict, name) for name in DICTIONARIES),
    ]
    with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings(
            "ignore", message="Detected pickle protocol"
        )  # of a file that is refused, or read all the same
        warnings.filterwarnings("ignore", message=".*TorchScript archive")  # refused just after
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def reason_of(error: Exception) -> str:
    """Return in a few words why torch did not read a file: what it names and may not, or the error's first line."""
    named = REFUSED.search(str(error))
    if named:
        return f"it names {named.group(1).rstrip('.')}"
    if code := UNREADABLE.search(str(error)):
        return f"torch.save did not write it (its pickle holds the code {code.group(1)})"
    first = str(error).strip().split("\n", maxsplit=1)[0]
    if "weights_only" in first:  # torch advises to read it with all the code in it
        return "torch reads it only by running what is in it"
    return first or type(error).__name__
