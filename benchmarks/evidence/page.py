"""The page and the table of `make evidence`, made from the records alone: docs/results/evidence.md, evidence.csv."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from benchmarks.evidence.records import Record, read_records

from transface.artifacts import write_whole
from transface.evaluation.results import format_number
from transface.plots import SERIES, blank_figure, label_axes, percent_axis, to_png
from transface.reports.ablation_report import adjusted
from transface.reports.page.document import Cell, Row, Table
from transface.reports.page.markdown import render_table
from transface.reports.reading.measures import MeasureName, is_rate
from transface.reports.statistics.paired import p_text
from transface.reports.statistics.seeds import SeedComparison, compare_settings, measured, over_seeds
from transface.reports.statistics.settings import metric_of, metric_title

HEAD = """# Figures from real photographs

Made by `make evidence DATA=FOLDER HOURS=4`: one command that resumes where it stopped; the runs are
`benchmarks/evidence/runs.yaml`, what each measured is a file of `docs/results/evidence/`, and all figures are in
[evidence.csv](evidence.csv). A test fails when a figure here is not that of its file. Small networks, few
photographs, from scratch: the order of rows is to be seen, no record. Bad results stay.

In brackets: 95 % intervals, of one seed over pairs (or people), of the mean over seeds (Student's t). *p over seeds*:
paired t test on equal seeds. *p over pairs*: exact sign-flip test on the pairs of faces. Both are adjusted for the
number of rows (Holm). With three seeds an interval over seeds is 2.5 standard deviations wide on each side."""
COLUMNS = ("group", "run", "seed", "protocol", "set", "measure", "value", "low", "high", "unit", "cpu_seconds")


def write_page(groups: Mapping[str, Mapping[str, Any]], results: Path) -> Path:
    """Write <results>/evidence.md, evidence.csv and the curves' pictures from <results>/evidence/, and return the
    page.
    """
    records = read_records(results / "evidence")
    write_whole(results / "evidence.csv", table_of(records))
    for name, group in groups.items():
        own = of_group(records, name, group)
        if "curve" in group and len(own) > 1:
            write_whole(results / f"{name}.png", to_png(curve_of(own, group), dpi=100))
    return write_whole(results / "evidence.md", page_of(groups, records))


def table_of(records: Sequence[Record]) -> str:
    """Return all figures as CSV, a row a measure."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(COLUMNS)
    for record in records:
        for result in record.results:
            for m in result.measures:
                about = (record.group, record.run, record.seed, result.protocol, result.name, m.name)
                rows.writerow([*about, m.value, m.low, m.high, m.unit, record.cpu_seconds])
    return stream.getvalue()


def page_of(groups: Mapping[str, Mapping[str, Any]], records: Sequence[Record]) -> str:
    """Return the page: a section a group."""
    parts = [HEAD]
    for name, group in groups.items():
        own = of_group(records, name, group)
        planned = len(group["runs"]) * len(group["seeds"])
        done = sum(map(len, own.values()))
        parts.append(f"## {group['title']}\n\n{' '.join(group['about'].split())}")
        if done < planned:
            parts.append(f"**{done} of {planned} runs are done.**")
        if not own:
            continue
        parts += [render_table(group_table(own, group, measure)) for measure in group["measures"]]
        if "curve" in group and len(own) > 1:
            parts.append(f"![{group['title']}: {group['measures'][0]}]({name}.png)")
        parts.append(made_by([record for runs in own.values() for record in runs]))
    return "\n\n".join(parts) + "\n"


def of_group(records: Sequence[Record], name: str, group: Mapping[str, Any]) -> dict[str, list[Record]]:
    """Return the records of a group by run, in the table's order; runs without a record are left out."""
    found = {run: [one for one in records if (one.group, one.run) == (name, run)] for run in group["runs"]}
    return {run: sorted(own, key=lambda record: record.seed) for run, own in found.items() if own}


def group_table(runs: Mapping[str, Sequence[Record]], group: Mapping[str, Any], measure: str) -> Table:
    """Return one measure of a group: a row a run, a column a seed, the mean, and the comparison with the baseline."""
    require_one_set(runs, measure)
    trials = {run: [record.as_trial() for record in own] for run, own in runs.items()}
    metric = metric_of([trial for own in trials.values() for trial in own], measure)
    plain = trials.get(group["baseline"], [])
    compared = {
        run: compare_settings(own, plain, metric) for run, own in trials.items() if run != group["baseline"] and plain
    }
    p_seeds = dict(zip(compared, adjusted([c.p_seeds if c else None for c in compared.values()]), strict=True))
    p_pairs = dict(zip(compared, adjusted([c.p_pairs if c else None for c in compared.values()]), strict=True))
    rows = []
    for run, own in trials.items():
        by_seed = {trial.seed: measured(trial.run, metric) for trial in own}
        seeds = [value_cell(by_seed.get(seed), metric) for seed in group["seeds"]]
        known = [estimate for estimate in by_seed.values() if estimate is not None]
        if not known:
            continue  # a run of another task
        mean = value_cell(over_seeds(known, is_rate=is_rate(metric)) if len(known) > 1 else None, metric, spread=True)
        difference = difference_cell(compared.get(run), metric)
        tests = [Cell("" if p.get(run) is None else p_text(p[run])) for p in (p_seeds, p_pairs)]
        rows.append(Row(run, (*seeds, mean, difference, *tests), "baseline" if run == group["baseline"] else "run"))
    columns = ("Run", *(f"seed {seed}" for seed in group["seeds"]), "mean ± sd", f"minus {group['baseline']}")
    return Table(metric_title(metric), (*columns, "p over seeds", "p over pairs"), tuple(rows))


def require_one_set(runs: Mapping[str, Sequence[Record]], measure: str) -> None:
    """Raise ValueError for a measure that names no set where several have it: their mean would say nothing."""
    results = [result for own in runs.values() for record in own for result in record.results]
    sets = {result.name for result in results if any(m.name == measure for m in result.measures)}
    if len(sets) > 1:
        raise ValueError(f"{measure} is of {', '.join(sorted(sets))}: name one in runs.yaml, as SET/{measure}")


def value_cell(estimate: Any, metric: MeasureName, *, spread: bool = False) -> Cell:
    """Return a value with its interval, and its spread over seeds if asked for."""
    if estimate is None:
        return Cell()
    unit = metric.unit or ""
    sd = f" ± {format_number(estimate.std, unit)}" if spread and estimate.std is not None else ""
    inside = estimate.low is not None and estimate.high is not None
    interval = f"[{format_number(estimate.low, unit)}, {format_number(estimate.high, unit)}]" if inside else ""
    return Cell(format_number(estimate.value, unit) + sd, interval)


def difference_cell(compared: SeedComparison | None, metric: MeasureName) -> Cell:
    """Return a difference with its sign and interval."""
    if compared is None:
        return Cell()
    unit = metric.unit or ""
    signed = [
        value if value is None else f"{'+' if value >= 0 else ''}{format_number(value, unit)}" for value in compared[:3]
    ]
    return Cell(str(signed[0]), "" if signed[1] is None else f"[{signed[1]}, {signed[2]}]")


def made_by(records: Sequence[Record]) -> str:
    """Return what made the figures, in a sentence, with the command of one run."""
    first = records[0]
    seconds = [record.cpu_seconds for record in records if record.cpu_seconds is not None]
    time = f"; {sum(seconds) / len(seconds) / 60:.1f} minutes of processor time a run" if seconds else ""
    commits = ", ".join(sorted({record.commit[:8] for record in records}))
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    parameters = first.trained.get("parameters")
    network = f"{parameters:,} parameters; " if parameters else ""
    said = f"{network}{first.processor}, one thread{time}; {versions}; commit {commits}."
    return f"{said}\n\n<details><summary>The command of a run</summary>\n\n    {first.command}\n\n</details>"


def curve_of(runs: Mapping[str, Sequence[Record]], group: Mapping[str, Any]) -> matplotlib.figure.Figure:
    """Return the measure over the value of a setting: each seed a point, the mean a line."""
    trials = {run: [record.as_trial() for record in own] for run, own in runs.items()}
    metric = metric_of([trial for own in trials.values() for trial in own], group["measures"][0])
    figure, (ax,) = blank_figure(6.4, 3.4)
    means = []
    for run, own in trials.items():
        values = [estimate.value for trial in own if (estimate := measured(trial.run, metric)) is not None]
        means.append((float(run), sum(values) / len(values)))
        ax.plot([float(run)] * len(values), values, "o", color=SERIES[0], alpha=0.45, markersize=4)
    ax.plot(*zip(*means, strict=True), color=SERIES[0], linewidth=1.8)
    percent_axis(ax.yaxis)
    label_axes(ax, x=group["curve"], y=metric_title(metric))
    return figure
