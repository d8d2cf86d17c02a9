"""The curves that results bring along, as plots with their bands."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from transface.evaluation.results import Curve, Result
from transface.plots import blank_figure, label_axes, legend_below, line_style
from transface.reports.page.document import Plot
from transface.reports.reading.measures import named_value_text

Floats = NDArray[np.float64]


def own_curves(results: Mapping[str, Result], *, stem: str) -> list[Plot]:
    """Return a plot for each title of the results' own curves, a line a run."""
    titles = dict.fromkeys(title for result in results.values() for title in result.curves)
    plots = []
    for number, title in enumerate(titles):
        curves = {label: result.curves[title] for label, result in results.items() if title in result.curves}
        first = next(iter(curves.values()))
        what = f"{title}: {first.y_title} over {first.x_title}. {headlines_text(results)}"
        plots.append(Plot(curve_figure(curves, title=title), f"{stem}_curve{number}", what))
    return plots


def curve_figure(curves: Mapping[str, Curve], *, title: str = "") -> Figure:
    """Return named curves of one kind as steps, with their bands where they have them."""
    figure, (ax,) = blank_figure()
    for index, (name, curve) in enumerate(curves.items()):
        style = line_style(index)
        ax.plot(curve.x, curve.y, drawstyle="steps-post", linewidth=1.8, label=name, **style)
        draw_band(ax, np.asarray(curve.x, np.float64), np.asarray(curve.low), np.asarray(curve.high), style["color"])
    ax.set_ylim(bottom=0)
    first = next(iter(curves.values()))
    label_axes(ax, x=first.x_title, y=first.y_title, title=title)
    legend_below(ax)
    return figure


def draw_band(ax: Axes, x: Floats, low: Floats, high: Floats, colour: str) -> None:
    """Shade between low and high, if there is a band."""
    if len(low) == len(x) and len(high) == len(x):
        ax.fill_between(x, low, high, step="post", color=colour, alpha=0.16, linewidth=0)


def headlines_text(results: Mapping[str, Result]) -> str:
    """Return the headline of each result in words, for those who do not see the plot."""
    return "; ".join(f"{label}: {named_value_text(r.measures[0])}" for label, r in results.items() if r.measures)
