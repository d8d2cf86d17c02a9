"""The section of a run's report that shows the method at work: its quantities over the steps, and the latest pictures
taken of it.

Quantities are columns `<name>_mean` and `<name>_spread` of metrics.csv below method/ and train/ehsm/; pictures are
<run>/method/<name>/step-<n>.png.
"""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from transface.plots import blank_figure, label_axes, line_style
from transface.reports.page.document import Block, Picture, Plot, Section
from transface.reports.reading.runs import Run
from transface.reports.reading.traces import Trace

PREFIXES = ("method/", "train/ehsm/")


def method_section(run: Run) -> list[Section]:
    """Return the section: [] where the run neither logged quantities of the method nor kept pictures."""
    quantities = quantities_of(run.traces)
    blocks: list[Block] = []
    for number, (label, (mean, spread)) in enumerate(quantities.items()):
        band = "band: plus and minus one standard deviation" if spread is not None else ""
        said = f"Mean of {label} over the steps" + (f"; {band}." if band else ".")
        blocks.append(Plot(quantity_figure(label, mean, spread), f"method{number}", said, band.capitalize()))
    for name, path in latest_pictures(run.folder).items():
        words = name.replace("_", " ")
        step = int(path.stem.removeprefix("step-"))
        blocks.append(
            Picture(
                path.read_bytes(),
                f"method_{name}",
                f"{words} at step {step:,}",
                f"{words.capitalize()} at step {step:,}.",
            )
        )
    return [Section("The method at work", tuple(blocks))] if blocks else []


def quantities_of(traces: Mapping[str, Trace]) -> dict[str, tuple[Trace, Trace | None]]:
    """Return mean and spread (or None) of each quantity that was logged more than once, by name."""
    found = {}
    for name, trace in traces.items():
        if name.startswith(PREFIXES) and name.endswith("_mean") and len(trace.steps) > 1:
            stem = name.removesuffix("_mean")
            label = (
                "EHSM weight (training batches)"
                if stem.startswith("train/ehsm/")
                else stem.removeprefix("method/").replace("_", " ")
            )
            spread = traces.get(f"{stem}_spread")
            same = spread is not None and spread.steps.tolist() == trace.steps.tolist()
            found[label] = (trace, spread if same else None)
    return found


def quantity_figure(label: str, mean: Trace, spread: Trace | None) -> Figure:
    """Return the mean of a quantity over the steps, its spread as a band."""
    figure, (ax,) = blank_figure(height=2.8)
    colour = line_style(0)["color"]
    ax.plot(mean.steps, mean.values, linewidth=1.6, color=colour)
    if spread is not None:
        low, high = mean.values - spread.values, mean.values + spread.values
        ax.fill_between(mean.steps, low, high, color=colour, alpha=0.16, linewidth=0)
    label_axes(ax, x="step", y="", title=label)
    return figure


def latest_pictures(folder: Path | None) -> dict[str, Path]:
    """Return the newest picture of each kind a run kept, by name."""
    if folder is None:
        return {}
    kept: dict[str, Path] = {}
    for path in sorted((folder / "method").glob("*/step-*.png")):
        if path.stem.removeprefix("step-").isdigit():
            kept[path.parent.name] = path
    return kept
