"""The program of the process that reads a .mat file for `matlab_files`: `python matlab_child.py FILE FOLDER SQUEEZE`.

It prints one line of JSON: {"error": text} or {"variables": {name: value}}, where a value is {"array": number} (an
array of FOLDER/arrays.npz), {"scalar": number} (of no dimensions there), {"struct": {field: value}},
{"cells": [value, ...], "shape": [...]} or null (what is none of these: functions, objects, sparse matrices).
It imports nothing of transface.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import mat_struct


class Flattened:
    """Numeric and text arrays apart from the structure that holds them."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []

    def value(self, read: Any) -> dict[str, Any] | None:
        """Return the structure of what SciPy read, its arrays kept."""
        if isinstance(read, mat_struct):
            return {"struct": {field: self.value(getattr(read, field)) for field in read._fieldnames}}
        if isinstance(read, np.ndarray) and read.dtype == object:
            return {"cells": [self.value(cell) for cell in read.ravel()], "shape": list(read.shape)}
        if not isinstance(read, (np.ndarray, np.generic, str, int, float, complex)):
            return None
        array = np.asarray(read)
        if array.dtype.hasobject or array.dtype.kind not in "biufcSU":
            return None
        self.arrays.append(array)
        return {"array" if isinstance(read, np.ndarray) else "scalar": len(self.arrays) - 1}


def main(path: str, folder: str, squeeze: str) -> None:
    """Read the file, write its arrays, print its structure."""
    kept = Flattened()
    try:
        found = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=squeeze == "1")
        variables = {name: kept.value(value) for name, value in found.items() if not name.startswith("__")}
        np.savez(Path(folder) / "arrays.npz", *kept.arrays)
        print(json.dumps({"variables": variables}))
    except Exception as error:  # scipy raises whatever the bytes lead it to
        print(json.dumps({"error": " ".join(str(error).split()) or type(error).__name__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
