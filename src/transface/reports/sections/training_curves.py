"""Loss and accuracy over the steps of a run, read from its metrics.csv.

The file is wide: a column a metric, `step` and `epoch` among them, a cell empty where nothing was logged at that step.
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from transface.plots import add_legend, blank_figure, label_axes, line_style, percent_axis


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


def smoothed(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the centred running mean over `window` finite values, shorter at both ends."""
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    centre = np.arange(len(values))
    start, stop = np.maximum(centre - window // 2, 0), np.minimum(centre + (window - 1) // 2 + 1, len(values))
    return (sums[stop] - sums[start]) / np.maximum(counts[stop] - counts[start], 1)


def losses_of(traces: dict[str, Trace]) -> dict[str, Trace]:
    """Return the loss traces: the total, and its parts where there is more than one."""
    total = {"total": traces["train/loss"]} if "train/loss" in traces else {}
    parts = {
        name.removeprefix("train/loss/"): trace for name, trace in traces.items() if name.startswith("train/loss/")
    }
    return total | parts if len(parts) > 1 or not total else total


def accuracies_of(traces: dict[str, Trace]) -> dict[str, Trace]:
    """Return the validation accuracies by set; the mean last, and only where there are several sets."""
    names = [name for name in traces if name.startswith("val/") and name.endswith("/accuracy")]
    found = {name.removeprefix("val/").removesuffix("/accuracy"): traces[name] for name in names}
    mean = found.pop("mean", None)
    return found if mean is None or len(found) == 1 else {**found, "mean": mean}


def training_figure(traces: dict[str, Trace]) -> Figure | None:
    """Return loss and validation accuracy over steps side by side, or None if neither was logged."""
    return panels_figure(losses_of(traces), accuracies_of(traces))


def trainings_figure(runs: Mapping[str, dict[str, Trace]]) -> Figure | None:
    """Return the total loss and the mean validation accuracy of named runs over each other, or None if none logged
    either.
    """
    losses = {label: next(iter(found.values())) for label, traces in runs.items() if (found := losses_of(traces))}
    accuracies = {label: list(found.values())[-1] for label, traces in runs.items() if (found := accuracies_of(traces))}
    return panels_figure(losses, accuracies)


def panels_figure(losses: Mapping[str, Trace], accuracies: Mapping[str, Trace]) -> Figure | None:
    """Return a panel of named losses (raw behind their running mean) and one of named accuracies, those there are; None
    for neither.
    """
    if not losses and not accuracies:
        return None
    panels = [bool(losses), bool(accuracies)]
    figure, axes = blank_figure(4.9 * sum(panels), 3.7, columns=sum(panels))
    if losses:
        for index, (name, (steps, values)) in enumerate(losses.items()):
            style = line_style(index)
            window = max(1, len(values) // 40)
            if window > 1:
                axes[0].plot(steps, values, color=style["color"], alpha=0.28, linewidth=0.9)
            axes[0].plot(
                steps, smoothed(values, window), linewidth=1.8, label=name if len(losses) > 1 else None, **style
            )
        label_axes(axes[0], x="step", y="training loss", title="Loss")
        add_legend(axes[0])
    if accuracies:
        for index, (name, (steps, values)) in enumerate(accuracies.items()):
            axes[-1].plot(steps, values, marker="o", markersize=3.5, linewidth=1.6, label=name, **line_style(index))
        percent_axis(axes[-1].yaxis)
        label_axes(axes[-1], x="step", y="validation accuracy, %", title="Accuracy")
        add_legend(axes[-1])
    return figure
