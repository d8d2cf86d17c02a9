"""Tables of results of any kind: a summary over sets, the figures of one set, the tables that results bring along."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from transface.evaluation.results import Measure, Result
from transface.reports.page.document import Row, RowKind, Table
from transface.reports.reading.measures import (
    MeasureName,
    best_of,
    cell_of,
    find_measure,
    measure_names,
    named,
    short_far,
    tar_rule,
    title_of,
)
from transface.reports.reading.runs import Run, SetKey, is_baseline, named_results

INTERVAL_NOTE = "In brackets: the 95 % interval."
SPREAD_NOTE = "+-: the spread (population standard deviation) over folds."


def summary_table(runs: Sequence[Run], keys: Sequence[SetKey]) -> Table | None:
    """Return the headline measure of every set, a row a run; None where there are fewer than two runs or sets to
    compare.
    """
    by_set = {key: named_results(runs, key) for key in keys}
    labels = list(dict.fromkeys(label for results in by_set.values() for label in results))
    labels.sort(key=lambda label: any(is_baseline(results[label]) for results in by_set.values() if label in results))
    if len(keys) < 2 or len(labels) < 2:
        return None
    headline = {key: named(next(iter(results.values())).measures[0]) for key, results in by_set.items()}
    best = {key: best_of([find_measure(r, headline[key]) for r in by_set[key].values()]) for key in keys}
    rows = []
    for label in labels:
        measures = [find_measure(by_set[key].get(label), headline[key]) for key in keys]
        cells = tuple(cell_of(m, best=m is not None and m is best[key]) for m, key in zip(measures, keys, strict=True))
        rows.append(Row(label, cells, row_kind(r for r in (by_set[key].get(label) for key in keys) if r)))
    names = [f"{key.name}: {title_of(headline[key])}" for key in keys]
    notes = notes_of((r for of_set in by_set.values() for r in of_set.values()), names=list(headline.values()))
    return Table("The headline measure of every set", ("Run", *names), tuple(rows), notes)


def own_tables(results: Mapping[str, Result]) -> list[Table]:
    """Return the tables that results bring along, each as it is."""
    found = []
    for label, result in results.items():
        for title, table in result.tables.items():
            by_name = {m.name: named(m) for row in table.rows.values() for m in row if m is not None}
            columns = tuple(title_of(by_name[name]) if name in by_name else name for name in table.columns)
            rows = tuple(Row(name, tuple(map(cell_of, row))) for name, row in table.rows.items())
            caption = f"{result.name}: {title}" if len(results) == 1 else f"{result.name}, {label}: {title}"
            warned = dict.fromkeys(m.warning for row in table.rows.values() for m in row if m is not None and m.warning)
            notes = (*((INTERVAL_NOTE,) if any(c.interval for row in rows for c in row.cells) else ()), *warned)
            found.append(Table(caption, ("", *columns), rows, notes))
    return found


def measures_table(
    results: Mapping[str, Result],
    names: Sequence[MeasureName],
    *,
    caption: str,
    title: Callable[[MeasureName], str] = title_of,
    best: bool = True,
    reference: Sequence[Row] = (),
    notes: Sequence[str] = (),
) -> Table:
    """Return the named measures of one set's results, a row a run, the best one marked; below it rows to refer to, with
    notes on them.
    """
    models = [result for result in results.values() if not is_baseline(result)]
    highest = {name: best_of([find_measure(result, name) for result in models if best]) for name in names}
    rows = []
    for label, result in results.items():
        measures = [find_measure(result, name) for name in names]
        cells = tuple(
            cell_of(m, best=m is not None and m is highest[name]) for m, name in zip(measures, names, strict=True)
        )
        rows.append(Row(label, cells, row_kind([result])))
    told = (*notes_of(results.values(), names=names), *notes)
    return Table(caption, ("Run", *map(title, names)), (*rows, *reference), told)


def sets_table(results: Mapping[SetKey, Mapping[str, Result]], *, caption: str = "Verification") -> Table:
    """Return all sets of one run in one table: a row a set, baselines below each model."""
    plain = [result for of_set in results.values() for result in of_set.values()]
    names = [name for name in measure_names(plain) if not tar_rule(name)]
    rows = []
    for key, of_set in results.items():
        for label, result in of_set.items():
            models = sum(not is_baseline(other) for other in of_set.values())
            header = (
                f"{key.name}, {label}"
                if is_baseline(result)
                else f"{key.name} ({result.mode})"
                if models > 1
                else key.name
            )
            rows.append(Row(header, tuple(cell_of(find_measure(result, name)) for name in names), row_kind([result])))
    return Table(caption, ("Set", *map(title_of, names)), tuple(rows), notes_of(plain, names=names))


def sets_tables(results: Mapping[SetKey, Mapping[str, Result]]) -> list[Table]:
    """Return the sets of one run in as few tables as have no empty columns: one for each kind of measures and units;
    none of TAR alone.
    """
    kinds: dict[tuple[tuple[str, str], ...], dict[SetKey, Mapping[str, Result]]] = {}
    for key, of_set in results.items():
        names = tuple((str(name), name.unit) for name in measure_names(of_set.values()) if not tar_rule(name))
        if names:
            kinds.setdefault(names, {})[key] = of_set
    captions = ["All sets"] if len(kinds) == 1 else [", ".join(key.name for key in chosen) for chosen in kinds.values()]
    return [sets_table(chosen, caption=caption) for chosen, caption in zip(kinds.values(), captions, strict=True)]


def counts_text(result: Result) -> str:
    """Return what a set holds, in words: "6,000 pairs (3,000 genuine, 3,000 impostor), 10 folds"."""
    counts = dict(result.counts)
    text = f"{counts.pop('pairs'):,} pairs" if "pairs" in counts else ""
    if "genuine" in counts and "impostor" in counts:
        kinds = f"{counts.pop('genuine'):,} genuine, {counts.pop('impostor'):,} impostor"
        text = f"{text} ({kinds})" if text else f"{kinds} pairs"
    return ", ".join(filter(None, [text, *(f"{value:,} {name}" for name, value in counts.items())]))


def row_kind(results: Iterable[Result]) -> RowKind:
    """Return what a row of these results is."""
    return "baseline" if all(is_baseline(result) for result in results) else "run"


def notes_of(results: Iterable[Result], *, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the notes a table of results needs: what brackets mean, and why a marked figure is doubtful."""
    measures = [m for result in results for m in result.measures if names is None or m.name in names]
    bracketed = INTERVAL_NOTE if any(m.low is not None for m in measures) else ""
    spread = SPREAD_NOTE if any(m.std is not None for m in measures) else ""
    explained = " ".join(filter(None, [bracketed, spread]))
    return (*([explained] if explained else []), *dict.fromkeys(doubt(m) for m in measures if m.warning))


def doubt(measure: Measure) -> str:
    """Return the note of a doubtful measure."""
    return f"* {short_far(title_of(named(measure)))}: {measure.warning}"
