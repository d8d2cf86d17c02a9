"""Reads metrics.csv of a run: each metric over the steps.

The file is wide: a column a metric, `step` and `epoch` among them, a cell empty where nothing was logged at that step.
"""

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Trace(NamedTuple):
    """One metric over a run: (T,) steps, rising, and (T,) values."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def read_traces(path: str | Path) -> dict[str, Trace]:
    """Return the traces of a metrics.csv by name; a step logged twice (a resumed run) keeps its last value.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file, or has no `step` column.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no metrics file {path}: a run writes one with logger=csv")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            names, rows = reader.fieldnames or (), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a metrics file of a run: {error}") from error
    if "step" not in names:
        raise ValueError(f"{path} is not a metrics file of a run: it has no column 'step'")
    points: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, text in row.items():
            step, value = as_number(row["step"]), as_number(text)
            if name not in ("step", None) and step is not None and math.isfinite(step) and value is not None:
                points.setdefault(name, {})[int(step)] = value
    return {name: as_trace(by_step) for name, by_step in points.items()}


def as_number(text: str | None) -> float | None:
    """Return the number a cell holds, or None where it is empty or a half-written last line."""
    try:
        return float(text) if text else None
    except (TypeError, ValueError):
        return None


def as_trace(by_step: dict[int, float]) -> Trace:
    """Return a Trace of values by step."""
    steps = sorted(by_step)
    return Trace(np.array(steps, np.int64), np.array([by_step[step] for step in steps], np.float64))
