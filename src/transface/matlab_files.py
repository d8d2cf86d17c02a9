"""Reads MATLAB's .mat files so that a broken one is an error and never the end of the process.

SciPy's reader of version 5 to 7 files is compiled and trusts what a file says of itself: some broken files crash it.
So another process reads the file first, and what ends that one is refused here. Version 7.3 is HDF5.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import scipy.io

HDF5 = b"\x89HDF\r\n\x1a\n"
HEADER = 512  # bytes before the HDF5 of a version 7.3 file
PROBE = "import sys, scipy.io; scipy.io.loadmat(sys.argv[1], struct_as_record=False, squeeze_me=True)"


def is_hdf5(path: Path) -> bool:
    """Return whether a .mat file is of version 7.3."""
    with path.open("rb") as file:
        start = file.read(HEADER + len(HDF5))
    return start.startswith(HDF5) or start[HEADER:] == HDF5


def load_matlab(path: Path, **settings: Any) -> dict[str, Any]:
    """Return the variables of a .mat file of version 7 or older; `settings` are scipy.io.loadmat's.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of version 7.3, or cannot be read.
    """
    if is_hdf5(path):
        raise ValueError(f"{path} is a .mat of version 7.3 (HDF5): save it with '-v7'")
    probe = subprocess.run([sys.executable, "-P", "-c", PROBE, str(path)], capture_output=True, check=False)
    if probe.returncode < 0:
        raise ValueError(f"{path} cannot be read as a .mat file: it is broken, SciPy's reader crashes on it")
    try:
        found: dict[str, Any] = scipy.io.loadmat(path, **settings)
    except Exception as error:  # scipy raises whatever the bytes lead it to
        raise ValueError(f"{path} cannot be read as a .mat file: {str(error) or type(error).__name__}") from error
    return found


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
