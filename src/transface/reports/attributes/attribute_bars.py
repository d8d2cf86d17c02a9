"""The accuracy of every attribute as bars with intervals, beside three published rows and the majority's answer."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from transface.evaluation.results import Measure, Result, format_measure
from transface.plots import FAINT, INK, SERIES, add_legend, blank_figure, label_axes, percent_axis
from transface.reports.page.document import Block, Cell, Paragraph, Plot, Row, Section, Table
from transface.reports.reading.published import read_published
from transface.reports.reading.runs import Run, is_baseline

TABLE = "Attributes"
NUM_TEST_IMAGES = 19_962  # of CelebA, on which the published rows were measured
MARKERS = ("|", "x", "+")
SUSPICIOUS = 0.02  # of accuracy, below all published rows and above them alike
JUDGED_ON_CELEBA = "Published rows are of CelebA's own 19,962 test images, ours of {count:,} images of {name}."


class AttributeRow(NamedTuple):
    """One attribute: our accuracy with its interval, what the majority's answer gets, and the published rows."""

    name: str
    accuracy: Measure
    majority: float | None
    published: dict[str, float]


@cache
def published_accuracies() -> dict[str, dict[str, float]]:
    """Return the published accuracies of CelebA's attributes, by model and attribute."""
    return {
        row.model: {name: value for (_, name), value in row.figures.items()} for row in read_published("attributes")
    }


def attribute_sections(run: Run) -> list[Section]:
    """Return a section for each result of attributes of a run: bars and a table; [] where there are none."""
    return [
        attribute_section(result)
        for result in run.results
        if result.protocol == "attributes" and TABLE in result.tables and not is_baseline(result)
    ]


def attribute_section(result: Result) -> Section:
    """Return bars and table of one result, with the note that says what the published rows were measured on."""
    rows = attribute_rows(result)
    mean = np.mean([row.accuracy.value for row in rows])
    alt = (
        f"Accuracy of {len(rows)} attributes with 95 % intervals, from {rows[0].name} to {rows[-1].name}; their mean is"
        f" {100 * mean:.2f} %."
    )
    blocks: list[Block] = [
        Plot(bars_figure(rows), f"attributes_{result.name}", alt, "Bar: 95 % interval; grey: the majority's answer.")
    ]
    if any(row.published for row in rows):
        blocks.append(Paragraph(comparability(result, rows)))
    return Section(f"Attributes of {result.name}", (*blocks, attribute_table(rows)))


def attribute_rows(result: Result) -> list[AttributeRow]:
    """Return the rows of a result's table, the most accurate first."""
    found = []
    for name, measures in result.tables[TABLE].rows.items():
        by_name = {measure.name: measure for measure in measures if measure is not None}
        if "accuracy" not in by_name:
            continue
        majority = by_name.get("majority")
        published = {method: row[name] for method, row in published_accuracies().items() if name in row}
        found.append(AttributeRow(name, by_name["accuracy"], None if majority is None else majority.value, published))
    return sorted(found, key=lambda row: (-row.accuracy.value, row.name))


def comparability(result: Result, rows: Sequence[AttributeRow]) -> str:
    """Return the sentences about the published rows: what they were measured on, and which attributes look like a
    mistake of order or preprocessing where the images are the same.
    """
    count = int(result.counts.get("images", 0))
    said = JUDGED_ON_CELEBA.format(count=count, name=result.name)
    if count != NUM_TEST_IMAGES:
        return f"{said} They are not comparable; they tell which attributes are hard."
    odd = [row.name for row in rows if row.published and far_off(row)]
    if odd:
        said += f" More than 2 points away from all three: {', '.join(odd)}; look at the order of labels and the crop."
    return said


def far_off(row: AttributeRow) -> bool:
    """Return whether an accuracy lies more than two points outside of all the published ones."""
    return (
        row.accuracy.value < min(row.published.values()) - SUSPICIOUS
        or row.accuracy.value > max(row.published.values()) + SUSPICIOUS
    )


def bars_figure(rows: Sequence[AttributeRow]) -> Figure:
    """Return horizontal bars, one an attribute, the published values as marks on them."""
    figure, (ax,) = blank_figure(8.6, 0.9 + 0.24 * len(rows))
    places = np.arange(len(rows))
    values = np.array([row.accuracy.value for row in rows])
    ax.barh(places, values, height=0.7, color=SERIES[0], alpha=0.75, label="this run")
    ends = np.array([_reach(row.accuracy) for row in rows]).T
    ax.errorbar(values, places, xerr=ends, fmt="none", ecolor=INK, elinewidth=1.0, capsize=2)
    majority = [(row.majority, place) for row, place in zip(rows, places, strict=True) if row.majority is not None]
    if majority:
        ax.plot(*zip(*majority, strict=True), linestyle="none", marker="s", markersize=4, color=FAINT, label="majority")
    for number, method in enumerate(published_accuracies()):
        marks = [(row.published[method], place) for row, place in zip(rows, places, strict=True) if row.published]
        if marks:
            ax.plot(
                *zip(*marks, strict=True),
                linestyle="none",
                marker=MARKERS[number],
                markersize=7,
                color=SERIES[1 + number],
                label=f"{method} (published)",
            )
    ax.set_yticks(places, [row.name.replace("_", " ") for row in rows], fontsize=8)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    lowest = min([row.accuracy.low or row.accuracy.value for row in rows] + [value for value, _ in majority])
    ax.set_xlim(max(0.0, lowest - 0.05), 1.005)
    figure.subplots_adjust(left=0.24)
    percent_axis(ax.xaxis)
    label_axes(ax, x="accuracy, %", y="")
    add_legend(ax, location="lower left", bbox_to_anchor=(-0.32, 1.0), ncols=5)
    return figure


def attribute_table(rows: Sequence[AttributeRow]) -> Table:
    """Return the same as a table."""
    methods = [method for method in published_accuracies() if any(method in row.published for row in rows)]
    columns = ("Attribute", "accuracy %", "majority %", *(f"{method} %, published" for method in methods))
    return Table("Accuracy of every attribute", columns, tuple(_table_row(row, methods) for row in rows))


def _table_row(row: AttributeRow, methods: Sequence[str]) -> Row:
    text, _, interval = format_measure(row.accuracy).partition(" ")
    majority = "" if row.majority is None else f"{100 * row.majority:.2f}"
    return Row(
        row.name, (Cell(text, interval), Cell(majority), *(Cell(_per_cent(row.published, name)) for name in methods))
    )


def _per_cent(values: Mapping[str, float], name: str) -> str:
    return f"{100 * values[name]:.2f}" if name in values else ""


def _reach(measure: Measure) -> tuple[float, float]:
    """Return how far the interval reaches below and above the value."""
    if measure.low is None or measure.high is None:
        return 0.0, 0.0
    return max(0.0, measure.value - measure.low), max(0.0, measure.high - measure.value)
