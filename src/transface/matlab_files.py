"""Reads MATLAB's .mat files so that a broken one is an error and never the end of the process.

SciPy's reader of version 5 to 7 files is compiled and trusts what a file says of itself: some broken files crash it,
some only in some processes. So it runs in a process of its own (matlab_child.py), which gives back JSON and NumPy's
arrays without pickles. Version 7.3 is HDF5.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

CHILD = Path(__file__).with_name("matlab_child.py")
HDF5 = b"\x89HDF\r\n\x1a\n"
HEADER = 512  # bytes before the HDF5 of a version 7.3 file


def is_hdf5(path: Path) -> bool:
    """Return whether a .mat file is of version 7.3."""
    with path.open("rb") as file:
        start = file.read(HEADER + len(HDF5))
    return start.startswith(HDF5) or start[HEADER:] == HDF5


def load_matlab(path: Path, squeeze: bool = False) -> dict[str, Any]:
    """Return the variables of a .mat file of version 7 or older: arrays, cells as arrays of objects, structs as
    namespaces; None for what is none of these. `squeeze` takes sides of 1 away, and makes single values scalars.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of version 7.3, or cannot be read.
    """
    if is_hdf5(path):
        raise ValueError(f"{path} is a .mat of version 7.3 (HDF5): save it with '-v7'")
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-P", str(CHILD), str(path), folder, str(int(squeeze))]
        child = subprocess.run(words, capture_output=True, text=True, check=False)
        if child.returncode:
            raise ValueError(f"{path} cannot be read as a .mat file: it is broken, SciPy's reader crashes on it")
        said = json.loads(child.stdout)
        if "error" in said:
            raise ValueError(f"{path} cannot be read as a .mat file: {said['error']}")
        with np.load(Path(folder) / "arrays.npz", allow_pickle=False) as stored:
            arrays = [stored[f"arr_{number}"] for number in range(len(stored.files))]
    return {name: _value(value, arrays) for name, value in said["variables"].items()}


def _value(said: dict[str, Any] | None, arrays: list[NDArray[Any]]) -> Any:
    """Return a value of matlab_child.py's structure."""
    if said is None:
        return None
    if "struct" in said:
        return SimpleNamespace(**{field: _value(value, arrays) for field, value in said["struct"].items()})
    if "cells" in said:
        cells = np.empty(len(said["cells"]), object)
        for number, cell in enumerate(said["cells"]):
            cells[number] = _value(cell, arrays)
        return cells.reshape(said["shape"])
    return arrays[said["array"]] if "array" in said else arrays[said["scalar"]][()]


@contextlib.contextmanager
def hdf5_file(path: Path) -> Iterator[Any]:
    """Open an HDF5 file (.mat of version 7.3); whatever h5py raises of its content is a ValueError.

    Raises:
        ValueError: if the file is none, or broken.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except ValueError:
        raise
    except OSError as error:
        raise ValueError(f"{path} is no MATLAB v7.3 file (HDF5): in MATLAB, save(..., '-v7.3') writes one") from error
    except (RuntimeError, KeyError, TypeError, AttributeError, IndexError, MemoryError, OverflowError) as error:
        raise ValueError(f"{path} is a broken HDF5 file: {' '.join(str(error).split())}") from error
