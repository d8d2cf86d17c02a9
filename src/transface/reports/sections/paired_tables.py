"""Tables of two results on the same samples: pairs of faces, labels of which several may hold, errors of a number."""

from collections.abc import Mapping
from itertools import combinations

from transface.evaluation.results import Result
from transface.metrics.significance import PairedTest
from transface.reports.page.document import Cell, Row, Table
from transface.reports.reading.measures import MeasureName, title_of
from transface.reports.statistics.paired import PairedComparison, compare_results, p_text
from transface.reports.statistics.paired_answers import compare_labels, compare_values

MEAN = "mean over labels"


def paired_tables(results: Mapping[str, Result]) -> list[Table]:
    """Return the tables that compare every two of some results of one set; [] where there is nothing to compare."""
    found = [paired_table(results), values_table(results), *labels_tables(results)]
    return [table for table in found if table is not None]


def paired_table(results: Mapping[str, Result]) -> Table | None:
    """Return every pair of results on the same pairs compared, a row a measure, or None where there is nothing to
    compare.
    """
    pairs = combinations(results.items(), 2)
    compared = {f"{one} minus {other}": compare_results(first, second) for (one, first), (other, second) in pairs}
    rows = [Row(label, paired_cells(name, c)) for label, measures in compared.items() for name, c in measures.items()]
    if not rows:
        return None
    columns = ("Runs", "Measure", "Difference, points", "Only the first right", "Only the second right", "p")
    by_people = any(c.by_people for measures in compared.values() for c in measures.values())
    test = "people drawn again (pairs that share a person depend on each other)" if by_people else "McNemar's, exact"
    notes = [f"Compared pair by pair on the same pairs. In brackets: the 95 % interval of the difference. p: {test}."]
    if any(name != "accuracy" for measures in compared.values() for name in measures):
        notes.append(
            "TAR: genuine pairs accepted at each run's own threshold (rule strict), the threshold taken as given."
        )
    if len(rows) > 1:
        notes.append(f"{len(rows)} comparisons: p is not adjusted for their number.")
    return Table(f"{next(iter(results.values())).name}: paired comparison", columns, tuple(rows), tuple(notes))


def paired_cells(name: str, compared: PairedComparison) -> tuple[Cell, ...]:
    """Return the cells of one comparison of one measure."""
    return (
        Cell(title_of(MeasureName(name, "rate", "higher")).replace(" %", "")),
        Cell(f"{100 * compared.difference:+.2f}", f"[{100 * compared.low:+.2f}, {100 * compared.high:+.2f}]"),
        Cell(f"{compared.only_first:,}"),
        Cell(f"{compared.only_second:,}"),
        Cell(p_text(compared.p_value)),
    )


def values_table(results: Mapping[str, Result]) -> Table | None:
    """Return the differences of the mean errors of every two results, or None."""
    rows, unit = [], ""
    for (one, first), (other, second) in combinations(results.items(), 2):
        test = compare_values(second, first)
        if test is not None:
            unit = next((m.unit for m in first.measures if m.unit), "")
            rows.append(Row(f"{one} minus {other}", (*_difference(test, 1.0), Cell(p_text(test.p_value)))))
    if not rows:
        return None
    title = f"{next(iter(results.values())).name}: paired comparison of errors"
    columns = ("Runs", f"Difference of the mean error{f', {unit}' if unit else ''}", "p")
    note = "Image by image on the same images. In brackets: the 95 % interval. p: permutation test; below 0 is better."
    return Table(title, columns, tuple(rows), (note,))


def labels_tables(results: Mapping[str, Result]) -> list[Table]:
    """Return a table for every two results with labels of which several may hold: a row a label."""
    tables = []
    for (one, first), (other, second) in combinations(results.items(), 2):
        compared = compare_labels(second, first)
        if compared is None:
            continue
        mean = Row(MEAN, (*_difference(compared.mean, 100.0), Cell(""), Cell(""), Cell(p_text(compared.mean.p_value))))
        rows = [
            Row(
                name,
                (
                    *_difference(test, 100.0),
                    Cell(f"{test.only_second:,}"),
                    Cell(f"{test.only_first:,}"),
                    Cell(p_text(compared.adjusted[name])),
                ),
            )
            for name, test in compared.labels.items()
        ]
        columns = ("Label", "Difference, points", "Only the first right", "Only the second right", "p")
        note = (
            "Image by image on the same images. In brackets: the 95 % interval. p of a label: McNemar's test, adjusted"
            f" for {len(rows)} labels (Holm); of the mean: permutation test."
        )
        tables.append(Table(f"{one} minus {other}, label by label", columns, (mean, *rows), (note,)))
    return tables


def _difference(test: PairedTest, factor: float) -> tuple[Cell, ...]:
    values = factor * test.difference, factor * test.low, factor * test.high
    return (Cell(f"{values[0]:+.2f}", f"[{values[1]:+.2f}, {values[2]:+.2f}]"),)
