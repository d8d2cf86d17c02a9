"""Curves over settings: a metric with its interval over the swept values, and variants side by side, single seeds as
dots.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from transface.plots import FAINT, INK, SERIES, add_legend, blank_figure, label_axes, line_style, percent_axis
from transface.reports.reading.measures import MeasureName
from transface.reports.reading.trials import Value
from transface.reports.statistics.seeds import measured
from transface.reports.statistics.settings import Setting, metric_title, shown_as_rate


def sweep_figure(done: Sequence[Setting], keys: Sequence[str], metric: MeasureName, best: Setting) -> Figure:
    """Return the metric with its interval over the swept values: a line for each value of the other keys, seeds as
    dots.
    """
    figure, (ax,) = blank_figure(7.2, 4.4)
    x_key = max(
        keys, key=lambda key: (len({s.values[key] for s in done}), isinstance(done[0].values[key], int | float))
    )
    positions = axis_positions(ax, [s.values[x_key] for s in done])
    lines: dict[str, list[Setting]] = {}
    for setting in done:
        other = ", ".join(f"{key}={value}" for key, value in setting.values.items() if key != x_key)
        lines.setdefault(other, []).append(setting)
    for index, (label, members) in enumerate(lines.items()):
        draw_line(ax, members, [positions[str(s.values[x_key])] for s in members], metric, index=index, label=label)
    assert best.estimate is not None
    at = positions[str(best.values[x_key])]
    ax.plot(
        at,
        best.estimate.value,
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor=INK,
        linestyle="none",
        label="best",
    )
    if shown_as_rate(metric):
        percent_axis(ax.yaxis)
    several = any(len(setting.trials) > 1 for setting in done)
    title = "Bar: 95 % interval" + ("; small dots: single seeds" if several else "")
    label_axes(ax, x=x_key, y=metric_title(metric).replace(" %", ", %"), title=title)
    add_legend(ax)
    return figure


def axis_positions(ax: Axes, values: Sequence[Value]) -> dict[str, float]:
    """Return where each value stands on the axis (numbers at themselves, words side by side) and tick the axis
    there.
    """
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values):
        if min(numbers) > 0 and max(numbers) / min(numbers) >= 50:
            ax.set_xscale("log")
        ticks = sorted(set(numbers))
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        return {str(value): float(value) for value in numbers}
    words = list(dict.fromkeys(map(str, values)))
    ax.set_xticks(range(len(words)), words)
    ax.set_xlim(-0.5, len(words) - 0.5)
    return {word: float(index) for index, word in enumerate(words)}


def draw_line(
    ax: Axes, members: Sequence[Setting], positions: Sequence[float], metric: MeasureName, *, index: int, label: str
) -> None:
    """Draw one line of settings with the intervals as bars, and the single seeds as dots."""
    style = line_style(index)
    points = [
        (x, setting.estimate) for x, setting in zip(positions, members, strict=True) if setting.estimate is not None
    ]
    values = [estimate.value for _, estimate in points]
    below = [0.0 if e.low is None else e.value - e.low for _, e in points]
    above = [0.0 if e.high is None else e.high - e.value for _, e in points]
    x = [position for position, _ in points]
    ax.errorbar(
        x, values, yerr=[below, above], marker="o", markersize=5, linewidth=1.6, capsize=3, label=label or None, **style
    )
    for position, setting in zip(positions, members, strict=True):
        if len(setting.trials) > 1:
            seeds = [e.value for trial in setting.trials if (e := measured(trial.run, metric)) is not None]
            draw_seeds(ax, position, seeds, style["color"])


def draw_seeds(ax: Axes, position: float, values: Sequence[float], colour: str = FAINT) -> None:
    """Draw single seeds as small dots, a little to the right of their mean."""
    beside = offset_copy(ax.transData, ax.get_figure(root=True), x=8, y=0, units="points")
    ax.plot(
        [position] * len(values),
        values,
        marker="o",
        markersize=3.5,
        linestyle="none",
        color=colour,
        alpha=0.6,
        transform=beside,
    )


def ablation_figure(variants: Sequence[Setting], metric: MeasureName) -> Figure:
    """Return the variants side by side as points with their intervals, the single seeds as dots, the baseline's value
    as a line.
    """
    figure, (ax,) = blank_figure(max(6.4, 1.5 * len(variants)), 4.2)
    for index, variant in enumerate(variants):
        seeds = [e.value for trial in variant.trials if (e := measured(trial.run, metric)) is not None]
        if len(seeds) > 1:
            draw_seeds(ax, index, seeds)
        estimate = variant.estimate
        if estimate is not None:
            ends = (
                None
                if estimate.low is None or estimate.high is None
                else [[estimate.value - estimate.low], [estimate.high - estimate.value]]
            )
            ax.errorbar(
                [index],
                [estimate.value],
                yerr=ends,
                marker="o",
                markersize=7,
                capsize=4,
                linewidth=1.8,
                color=SERIES[0],
            )
    if variants[0].estimate is not None:
        ax.axhline(variants[0].estimate.value, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.set_xticks(range(len(variants)), [wrapped(variant.name) for variant in variants])
    ax.set_xlim(-0.5, len(variants) - 0.5)
    if shown_as_rate(metric):
        percent_axis(ax.yaxis)
    title = "Bar: 95 % interval; small dots: single seeds; dashed: the baseline"
    label_axes(ax, x="", y=metric_title(metric).replace(" %", ", %"), title=title)
    return figure


def wrapped(name: str) -> str:
    """Return a name with a line break after each comma or plus."""
    return name.replace(", ", ",\n").replace(" + ", "\n+ ")
