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
from transface.reports.sections.training_curves import Trace

PREFIXES = ("method/", "train/ehsm/")


def method_section(run: Run) -> list[Section]:
    """Return the section: [] where the run neither logged quantities of the method nor kept pictures."""
    quantities = quantities_of(run.traces)
    blocks: list[Block] = []
    if quantities:
        alt = f"Mean, and spread as a band, over the steps of: {', '.join(quantities)}."
        blocks.append(
            Plot(
                quantities_figure(quantities),
                "method",
                alt,
                "Mean over faces or patches; band: plus and minus one standard deviation.",
            )
        )
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
            found[label] = (trace, traces.get(f"{stem}_spread"))
    return found


def quantities_figure(quantities: Mapping[str, tuple[Trace, Trace | None]], *, columns: int = 3) -> Figure:
    """Return a panel for each quantity: its mean over the steps, its spread as a band."""
    columns = min(columns, len(quantities))
    rows = -(-len(quantities) // columns)
    figure, axes = blank_figure(3.6 * columns, 2.7 * rows, columns=columns, rows=rows)
    for index, (label, (mean, spread)) in enumerate(quantities.items()):
        style = line_style(index)
        axes[index].plot(mean.steps, mean.values, linewidth=1.6, color=style["color"])
        if spread is not None and spread.steps.tolist() == mean.steps.tolist():
            low, high = mean.values - spread.values, mean.values + spread.values
            axes[index].fill_between(mean.steps, low, high, color=style["color"], alpha=0.16, linewidth=0)
        label_axes(axes[index], x="step", y="", title=label)
    for ax in axes[len(quantities) :]:
        ax.set_visible(False)
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
