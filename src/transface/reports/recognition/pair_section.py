"""What a report shows of comparisons and searches of faces: TAR by both rules, published rows, ROC, DET, scores, the
hardest pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from transface.evaluation.results import Result
from transface.plots import baseline_style, line_style
from transface.reports.page.document import Block, Cell, Plot, Row, Section, Table
from transface.reports.reading.measures import MeasureName, find_measure, measure_names, number, tar_rule, title_of
from transface.reports.reading.runs import Run, SetKey, baseline_label, is_baseline, set_keys, unused
from transface.reports.recognition.curves import Styles, curves_of, det_figure, histogram_figure, roc_figure
from transface.reports.recognition.hard_pairs import galleries
from transface.reports.recognition.published import not_comparable, published_figure, published_rows
from transface.reports.sections.own_curves import headlines_text, own_curves
from transface.reports.sections.paired_tables import paired_tables
from transface.reports.sections.result_sections import SetResults, file_word
from transface.reports.sections.result_tables import measures_table, own_tables

PUBLISHED_NOTE = "Rows marked published are figures from the literature, not measured here."


def pair_blocks(found: SetResults) -> list[Block]:
    """Return tables, paired comparison, curves, histograms and hardest pairs of the results of one set."""
    blocks: list[Block] = [
        *pair_tables(found.results, figures=found.figures, tar=found.place is None),
        *paired_tables(found.models),
        *own_tables(found.results),
        *curve_plots(found.key.name, found.results, stem=found.stem, styles=styles_of(found)),
        *own_curves(found.results, stem=found.stem),
    ]
    for label, result in found.models.items():
        blocks += galleries(result, label=label, stem=f"{found.stem}_{file_word(label)}", images=found.images)
    return blocks


def styles_of(found: SetResults) -> dict[str, dict[str, Any]]:
    """Return colour and dash by label: baselines are grey, the one model of a report on one run has its set's."""
    place = found.place if len(found.models) == 1 else None
    models = {label: line_style(index if place is None else place) for index, label in enumerate(found.models)}
    return {label: models.get(label, baseline_style()) for label in found.results}


def pair_tables(results: Mapping[str, Result], *, figures: bool = True, tar: bool = True) -> list[Table]:
    """Return the tables of one set: its measures but TAR, then one of TAR by both rules; published rows where there
    are any.

    `figures=False` and `tar=False` leave the first and the second out, unless there are published rows to show in it.
    """
    names = measure_names(results.values())
    rates = [name for name in names if tar_rule(name)]
    first = next(iter(results.values()))
    plain = [name for name in names if not tar_rule(name)]
    wanted = figures or bool(reference_rows(first, plain))
    tables = [beside_published(results, plain, caption=f"{first.name}: figures")] if wanted else []
    if rates and (tar or reference_rows(first, rates)):
        table = beside_published(results, rates, caption=f"{first.name}: TAR at FAR, by both rules", title=tar_title)
        tables.append(with_rules(table, rates))
    return [table for table in tables if table.rows and len(table.columns) > 1]


def with_rules(table: Table, rates: Sequence[MeasureName]) -> Table:
    """Return a table of TAR with notes on the rules it has."""
    rules = dict.fromkeys(tar_rule(name) for name in rates)
    return replace(table, notes=(*(RULE_NOTES.get(rule, rule) for rule in rules), *table.notes))


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


def curve_plots(name: str, results: Mapping[str, Result], *, stem: str, styles: Styles | None = None) -> list[Plot]:
    """Return the ROC and DET plots of one set's results and a histogram of each, those there is data for."""
    plots = []
    curves = curves_of(results)
    if curves:
        counts = [result.counts for result in results.values()]
        impostors = max((c.get("impostor", 0) for c in counts), default=0)
        genuine = max((c.get("genuine", 0) for c in counts), default=0)
        band = ", band: 95 % interval" if any(curve.tar_low for curve in curves.values()) else ""
        said = headlines_text(results)
        roc = roc_figure(curves, num_impostors=impostors, title=f"{name}: ROC{band}", styles=styles)
        det = det_figure(
            curves, num_genuine=genuine, num_impostors=impostors, title=f"{name}: DET{band}", styles=styles
        )
        plots.append(Plot(roc, f"{stem}_roc", f"ROC curve of {name}: true accept rate over false accept rate. {said}"))
        plots.append(Plot(det, f"{stem}_det", f"DET curve of {name}: false reject rate over false accept rate. {said}"))
    for place, (label, result) in enumerate(results.items()):
        if result.histogram is not None:
            measure = find_measure(result, "threshold_cosine")
            threshold = None if measure is None else measure.value
            title = f"{name}: scores" + (f", {label}" if len(results) > 1 else "")
            figure = histogram_figure(result.histogram, threshold=threshold, title=title)
            said = f"Histogram of genuine and impostor scores of {name}. {headlines_text({label: result})}"
            plots.append(Plot(figure, f"{stem}_scores{place or ''}", said))
    return plots


def all_sets_section(run: Run) -> list[Section]:
    """Return the section of all sets and modes of a run together: TAR by both rules with the raw-pixel baselines, ROC
    and DET without them; [] where no set has TAR or a curve.
    """
    keys = set_keys(run.results)
    models = [result for result in run.results if not is_baseline(result)]
    named: dict[str, Result] = {}
    for result in models:
        modes = sum(other.name == result.name for other in models)
        named[unused(result.name if modes == 1 else f"{result.name} ({result.mode})", named)] = result
    rows = {**named, **{f"{r.name}, {baseline_label(r)}": r for r in run.results if is_baseline(r)}}
    blocks: list[Block] = []
    rates = [name for name in measure_names(rows.values()) if tar_rule(name)]
    if rates:
        ordered = sorted(rows, key=lambda label: keys.index(SetKey(rows[label].protocol, rows[label].name)))
        sets = {label: rows[label] for label in ordered}
        table = measures_table(sets, rates, caption="TAR at FAR, by both rules", title=tar_title, best=False)
        blocks.append(with_rules(replace(table, columns=("Set", *table.columns[1:])), rates))
    curves = curves_of(named)
    if len({named[label].name for label in curves}) > 1:
        places = {label: keys.index(SetKey(named[label].protocol, named[label].name)) for label in curves}
        styles = {label: line_style(place) for label, place in places.items()}
        impostors, genuine = (max(r.counts.get(kind, 0) for r in named.values()) for kind in ("impostor", "genuine"))
        roc = roc_figure(curves, num_impostors=impostors, title="All sets: ROC", styles=styles)
        det = det_figure(curves, num_genuine=genuine, num_impostors=impostors, title="All sets: DET", styles=styles)
        blocks += [
            Plot(roc, "roc", f"ROC curves of all sets. {headlines_text(named)}"),
            Plot(det, "det", f"DET curves of all sets. {headlines_text(named)}"),
        ]
    return [Section("TAR at FAR", tuple(blocks))] if blocks else []
