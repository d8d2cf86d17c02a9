"""ROC, DET and score histograms of results as figures, the 95 % interval as a band.

Everything is drawn from what a result file holds: RocCurve and ScoreHistogram.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from transface.evaluation.results import Result, RocCurve, ScoreHistogram
from transface.plots import (
    FAINT,
    INK,
    SERIES,
    blank_figure,
    label_axes,
    legend_below,
    line_style,
    percent_axis,
    power_of_ten_axis,
)
from transface.reports.sections.own_curves import draw_band

Floats = NDArray[np.float64]
Styles = Mapping[str, Mapping[str, Any]]  # colour and dash by the curve's name


def roc_figure(
    curves: Mapping[str, RocCurve], *, num_impostors: int = 0, title: str = "", styles: Styles | None = None
) -> Figure:
    """Return the true accept rate over the false accept rate (logarithmic) of named curves.

    The axis starts at one false accept in `num_impostors`, or at the lowest FAR above zero.
    """
    figure, (ax,) = blank_figure()
    start = lowest_far(curves, num_impostors)
    lowest = 1.0
    for index, (name, curve) in enumerate(curves.items()):
        style = (styles or {}).get(name, line_style(index))
        far, tar, low, high = curve_arrays(curve, start)
        ax.plot(far, tar, drawstyle="steps-post", linewidth=1.8, label=name, **style)
        draw_band(ax, far, low, high, style["color"])
        lowest = min(lowest, tar.min(), *low[:1])
    far_axis(ax, start)
    ax.set_ylim(max(0.0, lowest - 0.05 * (1.02 - lowest)), 1 + 0.02 * (1.02 - lowest))
    percent_axis(ax.yaxis)
    label_axes(ax, x="false accept rate", y="true accept rate, %", title=title)
    legend_below(ax)
    return figure


def det_figure(
    curves: Mapping[str, RocCurve],
    *,
    num_genuine: int = 0,
    num_impostors: int = 0,
    title: str = "",
    styles: Styles | None = None,
) -> Figure:
    """Return the false reject rate over the false accept rate, both logarithmic; the axes end at one error in the pairs
    there are.
    """
    figure, (ax,) = blank_figure()
    start = lowest_far(curves, num_impostors)
    floor = 1 / num_genuine if num_genuine else 1e-4
    for index, (name, curve) in enumerate(curves.items()):
        style = (styles or {}).get(name, line_style(index))
        far, tar, low, high = curve_arrays(curve, start)
        ax.plot(far, np.maximum(1 - tar, floor), drawstyle="steps-post", linewidth=1.8, label=name, **style)
        draw_band(ax, far, np.maximum(1 - high, floor), np.maximum(1 - low, floor), style["color"])
    far_axis(ax, start)
    ax.set_yscale("log")
    ax.set_ylim(floor * 0.9, 1.1)
    power_of_ten_axis(ax.yaxis)
    ax.axline((start, start), (1, 1), color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
    label_axes(ax, x="false accept rate", y="false reject rate", title=title)
    legend_below(ax)
    return figure


def histogram_figure(histogram: ScoreHistogram, *, threshold: float | None = None, title: str = "") -> Figure:
    """Return a score histogram: genuine and impostor as shares of their own number, the threshold as a line."""
    figure, (ax,) = blank_figure()
    classes = (("impostor", histogram.impostor, SERIES[1], "////"), ("genuine", histogram.genuine, SERIES[0], None))
    for label, counts, colour, hatch in classes:
        share = np.asarray(counts, np.float64) / max(sum(counts), 1)
        ax.stairs(share, histogram.edges, fill=True, color=colour, alpha=0.25, hatch=hatch, linewidth=0)
        ax.stairs(share, histogram.edges, color=colour, linewidth=1.6, label=f"{label}, {sum(counts):,}")
    if threshold is not None:
        said = f"threshold {threshold:.3f}"
        ax.axvline(threshold, color=INK, linestyle=(0, (4, 2)), linewidth=1.2, label=said)
    ax.set_ylim(bottom=0)
    ax.set_xlim(*occupied_range(histogram))
    percent_axis(ax.yaxis)
    label_axes(ax, x="score (cosine)", y="share of pairs, %", title=title)
    legend_below(ax)
    return figure


def curves_of(results: Mapping[str, Result]) -> dict[str, RocCurve]:
    """Return the ROC curves of those named results that have one."""
    return {name: result.roc for name, result in results.items() if result.roc is not None and result.roc.far}


def lowest_far(curves: Mapping[str, RocCurve], num_impostors: int) -> float:
    """Return where a logarithmic FAR axis starts: one false accept, else the lowest FAR above zero, else 1e-4."""
    lowest = min((far for curve in curves.values() for far in curve.far if far > 0), default=1e-4)
    return min(1 / num_impostors if num_impostors else lowest, 0.1)


def curve_arrays(curve: RocCurve, start: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Return far, tar, low, high from `start` to 1: FAR rising, TAR the step function's value there; low and high empty
    without a band.
    """
    far, tar = np.asarray(curve.far, np.float64), np.asarray(curve.tar, np.float64)
    first = max(int(np.searchsorted(far, start * (1 + 1e-9), side="right")) - 1, 0)

    def cut(values: list[float]) -> Floats:
        kept = np.asarray(values, np.float64)[first:]
        return np.append(kept, kept[-1:])

    x = np.append(np.maximum(far[first:], start), 1.0)
    return x, np.append(tar[first:], tar[-1]), cut(curve.tar_low), cut(curve.tar_high)


def far_axis(ax: Axes, start: float) -> None:
    """Make the horizontal axis a logarithmic FAR from `start` to 1."""
    ax.set_xscale("log")
    ax.set_xlim(start, 1)
    power_of_ten_axis(ax.xaxis)


def occupied_range(histogram: ScoreHistogram) -> tuple[float, float]:
    """Return the ends of the bins that hold anything, with a little room."""
    edges = np.asarray(histogram.edges, np.float64)
    held = np.flatnonzero(np.asarray(histogram.genuine) + np.asarray(histogram.impostor))
    low, high = (edges[held[0]], edges[held[-1] + 1]) if len(held) else (edges[0], edges[-1])
    room = 0.03 * (high - low)
    return float(low - room), float(high + room)
