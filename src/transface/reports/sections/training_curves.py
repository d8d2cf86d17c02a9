"""Loss and the monitored measure over the steps of a run."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from transface.evaluation.results import Unit, unit_word
from transface.plots import (
    FAINT,
    INK,
    blank_figure,
    label_axes,
    legend_below,
    line_style,
    percent_axis,
    style_axes,
)
from transface.reports.reading.runs import Run
from transface.reports.reading.traces import Trace

SECONDS = "speed/seconds"


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


class Validated(NamedTuple):
    """The measure that a run is validated by: its name, its unit as a Measure states it, and the sets that have it in
    another unit, which no curve beside it shows.
    """

    name: str = "accuracy"
    unit: Unit = "rate"
    others: tuple[str, ...] = ()


ACCURACY = Validated()


def validated_by(run: Run) -> Validated:
    """Return the measure of the run's monitor, with the unit that its results state; accuracy where it has none."""
    monitor = run.config.get("monitor")
    name = monitor.rpartition("/")[2] if isinstance(monitor, str) else ACCURACY.name
    units = {result.name: measure.unit for result in run.results for measure in result.measures if measure.name == name}
    if not units:
        return Validated(name, ACCURACY.unit if name == ACCURACY.name else "")
    monitored = monitor.split("/")[1:2] if isinstance(monitor, str) else []
    unit = units[monitored[0]] if monitored and monitored[0] in units else next(iter(units.values()))
    return Validated(name, unit, tuple(own for own, other in units.items() if other != unit))


def validations_of(traces: dict[str, Trace], measure: Validated = ACCURACY) -> dict[str, Trace]:
    """Return the validated values of a measure by set; the mean last, and only where there are several sets."""
    ending = f"/{measure.name}"
    names = [name for name in traces if name.startswith("val/") and name.endswith(ending)]
    found = {name.removeprefix("val/").removesuffix(ending): traces[name] for name in names}
    found = {name: trace for name, trace in found.items() if name not in measure.others}
    mean = found.pop("mean", None)
    for name in [name for name in found if name.endswith("/mean")]:
        if mean is not None and np.array_equal(found[name].values, mean.values, equal_nan=True):
            del found[name]  # of the one protocol there is: the same numbers under a longer name
    return found if mean is None or len(found) == 1 else {**found, "mean": mean}


def training_figures(
    traces: dict[str, Trace], *, sets: Sequence[str] = (), measure: Validated = ACCURACY
) -> dict[str, Figure]:
    """Return the figures "loss" and that of a validated measure, by its name, over the steps of a run, those that were
    logged; `sets` in the order that gives their colours.
    """
    found = validations_of(traces, measure)
    order = [name for name in sets if name in found] + [name for name in found if name not in sets]
    places = {name: list(sets).index(name) if name in sets else len(sets) + i for i, name in enumerate(order)}
    styles = {name: {"color": INK, "linestyle": "-"} if name == "mean" else line_style(places[name]) for name in order}
    time = traces.get(SECONDS)
    validated = {name: found[name] for name in order}
    return {
        **({"loss": loss_figure(losses, time)} if (losses := losses_of(traces)) else {}),
        **({measure.name: validated_figure(validated, styles, time, measure)} if validated else {}),
    }


def trainings_figures(runs: Mapping[str, dict[str, Trace]], measure: Validated = ACCURACY) -> dict[str, Figure]:
    """Return the figures "loss" and that of a validated measure, by its name: total loss and mean over sets of named
    runs over each other, those that were logged.
    """
    losses = {label: next(iter(found.values())) for label, traces in runs.items() if (found := losses_of(traces))}
    values = {
        label: list(found.values())[-1] for label, traces in runs.items() if (found := validations_of(traces, measure))
    }
    styles = {label: line_style(index) for index, label in enumerate(values)}
    return {
        **({"loss": loss_figure(losses, None)} if losses else {}),
        **({measure.name: validated_figure(values, styles, None, measure)} if values else {}),
    }


def loss_figure(losses: Mapping[str, Trace], time: Trace | None) -> Figure:
    """Return named losses over the steps, raw values behind their running mean."""
    figure, (ax,) = blank_figure()
    for index, (name, (steps, values)) in enumerate(losses.items()):
        style = line_style(index)
        window = max(1, len(values) // 40)
        if window > 1:
            ax.plot(steps, values, color=style["color"], alpha=0.28, linewidth=0.9)
        ax.plot(steps, smoothed(values, window), linewidth=1.8, label=name if len(losses) > 1 else None, **style)
    label_axes(ax, x="step", y="training loss", title="Loss")
    legend_below(ax)
    add_time_axis(ax, time)
    return figure


def validated_figure(
    validated: Mapping[str, Trace],
    styles: Mapping[str, Mapping[str, Any]],
    time: Trace | None,
    measure: Validated = ACCURACY,
) -> Figure:
    """Return a validated measure of named sets or runs over the steps."""
    figure, (ax,) = blank_figure()
    for name, (steps, values) in validated.items():
        ax.plot(steps, values, marker="o", markersize=3.5, linewidth=1.6, label=name, **styles[name])
    if measure.unit == "rate":
        percent_axis(ax.yaxis)
    unit = f", {unit_word(measure.unit)}" if unit_word(measure.unit) else ""
    label_axes(ax, x="step", y=f"validation {measure.name}{unit}", title=measure.name.replace("_", " ").capitalize())
    legend_below(ax)
    add_time_axis(ax, time)
    return figure


def add_time_axis(ax: Axes, time: Trace | None) -> None:
    """Draw the time since training began at the top; nothing where it was not logged."""
    figure = ax.get_figure()
    if time is None or len(time.steps) < 2 or not isinstance(figure, Figure):
        return
    seconds = elapsed(time.values)
    units = ((3600.0, "hours", 10_800), (60.0, "minutes", 180), (1.0, "seconds", 0))
    unit, word = next((unit, word) for unit, word, least in units if seconds[-1] >= least)
    ticks = np.asarray(MaxNLocator(5).tick_values(0.0, float(seconds[-1]) / unit))
    ticks = ticks[ticks * unit <= seconds[-1]]
    height = figure.get_size_inches()[1]
    figure.subplots_adjust(top=figure.subplotpars.top - 0.36 / height)
    top = ax.twiny()
    style_axes(top)
    top.grid(visible=False)
    top.spines["top"].set_visible(True)
    top.spines["top"].set_color(FAINT)
    steps, seconds = np.append(0.0, time.steps), np.append(0.0, seconds)
    top.set_xticks(np.interp(ticks * unit, seconds, steps), [f"{tick:g}" for tick in ticks])
    top.set_xlim(ax.get_xlim())  # last: a tick outside would widen the axis
    top.set_xlabel(word, color=FAINT, fontsize=9, loc="right", labelpad=2)
    # y: left to itself, a title moves above the axis at the top, by the pad once more, and out of the figure
    ax.set_title(ax.get_title("left"), color=INK, fontsize=11, loc="left", pad=22, y=1.0)


def elapsed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return seconds since training began, of seconds since it began or was last resumed: they begin anew there."""
    steps = np.diff(values, prepend=0.0)
    return np.cumsum(np.where(steps < 0, values, steps))
