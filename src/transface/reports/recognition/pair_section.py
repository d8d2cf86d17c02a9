"""What a report shows of comparisons and searches of faces: TAR by both rules, published rows, ROC, DET, scores, the
hardest pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from transface.evaluation.results import Result
from transface.reports.page.document import Block, Cell, Plot, Row, Section, Table
from transface.reports.reading.measures import MeasureName, find_measure, measure_names, number, tar_rule, title_of
from transface.reports.reading.runs import Run, is_baseline, unused
from transface.reports.recognition.curves import curves_of, det_figure, histogram_figure, roc_figure
from transface.reports.recognition.hard_pairs import galleries
from transface.reports.recognition.published import not_comparable, published_figure, published_rows
from transface.reports.sections.own_curves import own_curves, spoken
from transface.reports.sections.paired_tables import paired_tables
from transface.reports.sections.result_sections import SetResults, file_word
from transface.reports.sections.result_tables import measures_table, own_tables

PUBLISHED_NOTE = "Rows marked published are figures from the literature, not measured here."


def pair_blocks(found: SetResults) -> list[Block]:
    """Return tables, paired comparison, curves, histograms and hardest pairs of the results of one set."""
    blocks: list[Block] = [
        *pair_tables(found.results, figures=found.figures),
        *paired_tables(found.models),
        *own_tables(found.results),
        *curve_plots(found.key.name, found.results, stem=found.stem),
        *own_curves(found.results, stem=found.stem),
    ]
    for label, result in found.models.items():
        blocks += galleries(result, label=label, stem=f"{found.stem}_{file_word(label)}", images=found.images)
    return blocks


def pair_tables(results: Mapping[str, Result], *, figures: bool = True) -> list[Table]:
    """Return the tables of one set: its measures but TAR, then a table of TAR for each rule; published rows where there
    are any.

    `figures=False` leaves the first out, unless there are published rows to show in it.
    """
    names = measure_names(results.values())
    tar = [name for name in names if tar_rule(name)]
    first = next(iter(results.values()))
    plain = [name for name in names if not tar_rule(name)]
    wanted = figures or bool(reference_rows(first, plain))
    tables = [beside_published(results, plain, caption=f"{first.name}: figures")] if wanted else []
    if tar:
        table = beside_published(results, tar, caption=f"{first.name}: TAR at FAR, by both rules", title=tar_title)
        rules = dict.fromkeys(tar_rule(name) for name in tar)
        tables.append(replace(table, notes=(*(RULE_NOTES.get(rule, rule) for rule in rules), *table.notes)))
    return [table for table in tables if table.rows and len(table.columns) > 1]


RULE_NOTES = {
    "nearest": (
        "rule nearest: the TAR of the ROC point nearest to the FAR, as published tables have it; may exceed the FAR"
    ),
    "strict": "rule strict: the largest TAR whose FAR does not exceed the target",
}


def tar_title(name: MeasureName) -> str:
    """Return the column title of a TAR with its rule."""
    return f"{title_of(name)}, {tar_rule(name)}"


def beside_published(
    results: Mapping[str, Result],
    names: Sequence[MeasureName],
    *,
    caption: str,
    title: Callable[[MeasureName], str] = title_of,
) -> Table:
    """Return the named measures of one set's results, a row a run, published figures below."""
    reference = reference_rows(next(iter(results.values())), names)
    reasons = dict.fromkeys(reason for result in results.values() if (reason := not_comparable(result)))
    notes = (PUBLISHED_NOTE, *reasons) if reference else ()
    return measures_table(results, names, caption=caption, title=title, reference=reference, notes=notes)


def reference_rows(result: Result, names: Sequence[MeasureName]) -> list[Row]:
    """Return the published rows that have one of the named figures for a result's set."""
    rows = []
    for published in published_rows(result):
        figures = [published_figure(published, result, name) for name in names]
        if any(figure is not None for figure in figures):
            cells = tuple(
                Cell() if f is None else Cell(number(name, f)) for f, name in zip(figures, names, strict=True)
            )
            rows.append(Row(published.label, cells, "published"))
    return rows


def curve_plots(name: str, results: Mapping[str, Result], *, stem: str) -> list[Plot]:
    """Return the ROC, DET and histogram plots of one set's results, those there is data for."""
    plots = []
    curves = curves_of(results)
    if curves:
        counts = [result.counts for result in results.values()]
        impostors = max((c.get("impostor", 0) for c in counts), default=0)
        genuine = max((c.get("genuine", 0) for c in counts), default=0)
        band = ", band: 95 % interval" if any(curve.tar_low for curve in curves.values()) else ""
        said = spoken(results)
        roc = roc_figure(curves, num_impostors=impostors, title=f"{name}: ROC{band}")
        det = det_figure(curves, num_genuine=genuine, num_impostors=impostors, title=f"{name}: DET{band}")
        plots.append(Plot(roc, f"{stem}_roc", f"ROC curve of {name}: true accept rate over false accept rate. {said}"))
        plots.append(Plot(det, f"{stem}_det", f"DET curve of {name}: false reject rate over false accept rate. {said}"))
    histograms = {label: result.histogram for label, result in results.items() if result.histogram is not None}
    if histograms:
        thresholds = {
            label: m.value for label, r in results.items() if (m := find_measure(r, "threshold_cosine")) is not None
        }
        figure = histogram_figure(histograms, thresholds=thresholds, title=f"{name}: scores")
        plots.append(
            Plot(figure, f"{stem}_scores", f"Histograms of genuine and impostor scores of {name}. {spoken(results)}")
        )
    return plots


def roc_section(run: Run) -> list[Section]:
    """Return the section with the ROC curves of all sets and modes in one figure, the raw-pixel baselines left out: []
    for fewer than two sets.
    """
    models = [result for result in run.results if not is_baseline(result)]
    names = [result.name for result in models]
    results: dict[str, Result] = {}
    for result in models:
        results[unused(result.name if names.count(result.name) == 1 else f"{result.name} ({result.mode})", results)] = (
            result
        )
    curves = curves_of(results)
    if len({results[name].name for name in curves}) < 2:
        return []
    impostors = max(result.counts.get("impostor", 0) for result in results.values())
    plot = Plot(
        roc_figure(curves, num_impostors=impostors, title="All sets: ROC"),
        "roc",
        f"ROC curves of all sets. {spoken(results)}",
    )
    return [Section("ROC", (plot,))]
