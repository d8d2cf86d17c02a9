"""Figures that look alike: palette, axes, and their two file formats, PNG (light) and SVG (follows the page's light or
dark).

No pyplot, so no global state: a Figure is made, drawn on and saved by its owner.
"""

import io
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

INK, FAINT, GRID, PAPER = "#1d2430", "#5b6676", "#d5dae2", "#fefefe"
SERIES = ("#1f5fd1", "#c8470a", "#0a7d58", "#9333b0", "#946c00", "#0d7288", "#bf2560", "#4b5563")
DARK_SERIES = ("#7db0ff", "#ff9860", "#46d3a2", "#d898f2", "#e8c440", "#4fcbe0", "#ff7dac", "#b4bcc8")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
# The page's style sheet gives these names a light and a dark value.
CSS_NAMES = {INK: "--ink", FAINT: "--faint", GRID: "--grid", PAPER: "--paper"} | {
    c: f"--series-{i}" for i, c in enumerate(SERIES)
}


def line_style(index: int) -> dict[str, Any]:
    """Return colour and dash of the i-th curve: told apart without colour too."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index % len(DASHES)]}


def baseline_style() -> dict[str, Any]:
    """Return colour and dash of what others are compared with."""
    return {"color": FAINT, "linestyle": DASHES[2]}


def blank_figure(
    width: float = 5.2, height: float = 3.6, *, columns: int = 1, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure (inches) and its axes, row by row, in the style of all figures."""
    figure = Figure(figsize=(width, height), facecolor=PAPER)
    # Margins in inches, stated: working them out (constrained layout) would double the time a report takes.
    left, right, bottom, top, between, above = 0.72, 0.15, 0.52, 0.36, 0.78, 0.78
    figure.subplots_adjust(left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height)
    inner = (
        (width - left - right - (columns - 1) * between) / columns,
        (height - bottom - top - (rows - 1) * above) / rows,
    )
    figure.subplots_adjust(wspace=between / inner[0], hspace=above / inner[1])
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = [ax for row in grid for ax in row]
    for ax in axes:
        style_axes(ax)
    return figure, axes


def style_axes(ax: Axes) -> None:
    """Give axes a light grid, no box and quiet ticks."""
    ax.set_facecolor(PAPER)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(FAINT)
    ax.tick_params(colors=FAINT, labelsize=9, which="both")
    ax.grid(visible=True, color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)


def label_axes(ax: Axes, *, x: str, y: str, title: str = "") -> None:
    """Name the axes, and the panel if it has a title."""
    ax.set_xlabel(x, color=INK, fontsize=10)
    ax.set_ylabel(y, color=INK, fontsize=10)
    if title:
        ax.set_title(title, color=INK, fontsize=11, loc="left")


def add_legend(ax: Axes, *, location: Any = "best", **options: Any) -> None:
    """Draw the legend of labelled curves, if there are any."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            loc=location,
            fontsize=9,
            frameon=True,
            framealpha=0.85,
            facecolor=PAPER,
            edgecolor=GRID,
            labelcolor=INK,
            **options,
        )


def legend_below(ax: Axes, **options: Any) -> None:
    """Draw the legend of labelled curves below the plot, which grows for it: off the curves."""
    handles, labels = ax.get_legend_handles_labels()
    figure = ax.get_figure()
    if not labels or not isinstance(figure, Figure):
        return
    columns = 1 if max(map(len, labels)) > 34 else 2
    extra = 0.1 + 0.21 * -(-len(labels) // columns)  # inches
    width, height = figure.get_size_inches()
    bottom, top, left = (
        figure.subplotpars.bottom * height,
        (1 - figure.subplotpars.top) * height,
        figure.subplotpars.left,
    )
    figure.set_size_inches(width, height + extra)
    figure.subplots_adjust(bottom=(bottom + extra) / (height + extra), top=1 - top / (height + extra))
    legend = ax.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(left - 0.02, 0.0),
        bbox_transform=figure.transFigure,
        ncols=columns,
        fontsize=9,
        frameon=False,
        labelcolor=INK,
        **options,
    )
    legend.set_in_layout(False)


def percent_axis(axis: Any) -> None:
    """Label an axis of fractions in per cent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}"))


def power_of_ten_axis(axis: Any) -> None:
    """Label a logarithmic axis 1e-4, 1e-3, ... 1 in plain characters."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: "1" if value == 1 else f"{value:.0e}".replace("e-0", "e-")))
    axis.set_minor_formatter(NullFormatter())


def to_png(figure: Figure, *, dpi: int = 130) -> bytes:
    """Return the figure as PNG bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def to_svg(figure: Figure, *, prefix: str) -> str:
    """Return the figure as an <svg> element for a page: text as text, the palette as CSS variables, every id starting
    with `prefix`.
    """
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(xlink:href="|url\()#', rf"\1#{prefix}-", text)
    for colour, name in CSS_NAMES.items():
        text = text.replace(colour, f"var({name})")
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)
    # The page's own font, whichever way this matplotlib states one.
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", text)
    opening = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" style="max-width:{130 * figure.get_figwidth():.0f}px"'
        ' viewBox="\\1">'
    )
    return re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', opening, text, count=1)
