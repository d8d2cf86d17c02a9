"""What `transface evaluate` shows of its results: a table for each kind of measures, TAR by both rules side by side,
warnings below.
"""

from collections.abc import Sequence
from typing import Any

from transface.evaluation.results import apart_from_tables, format_measure, unit_word

MOST_ACROSS = 8  # measures; of more, each has a row
UNLIMITED = 1000  # columns where the output is no terminal: tables take what they need


def print_results(results: Sequence[Any]) -> None:
    """Print the tables and the warnings."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = UNLIMITED
    for table in (*measure_tables(results), *tar_tables(results), *own_tables(results)):
        console.print(table)
    for warning in dict.fromkeys(warning for result in results for warning in result.warnings):
        console.print(f"note: {warning}", soft_wrap=True)


def measure_tables(results: Sequence[Any]) -> list[Any]:
    """Return a table for each kind of results (those of the same measures and units): a row a set and mode, or, of more
    measures than a screen is wide, a column; TAR and best_* are left out.
    """
    kinds: dict[tuple[tuple[str, str], ...], list[Any]] = {}
    for result in results:
        names = tuple((m.name, m.unit) for m in apart_from_tables(result) if not m.name.startswith(("best_", "tar@")))
        if names:
            kinds.setdefault(names, []).append(result)
    return [
        (_measures_down if len(names) > MOST_ACROSS else _measures_across)([name for name, _ in names], chosen)
        for names, chosen in kinds.items()
    ]


def _measures_across(names: Sequence[str], results: Sequence[Any]) -> Any:
    from rich.table import Table

    table = Table()
    for heading in ("set", "mode", *(heading_of(results[0].measure(name)) for name in names)):
        table.add_column(heading, overflow="fold")
    for result in results:
        table.add_row(result.name, result.mode, *(format_measure(result.measure(name)) for name in names))
    return table


def _measures_down(names: Sequence[str], results: Sequence[Any]) -> Any:
    from rich.table import Table

    table = Table()
    for heading in ("measure", *(f"{result.name} {result.mode}".strip() for result in results)):
        table.add_column(heading, overflow="fold")
    for name in names:
        measures = [result.measure(name) for result in results]
        table.add_row(heading_of(measures[0]), *map(format_measure, measures))
    return table


def heading_of(measure: Any) -> str:
    """Return the heading of a measure's column, its unit included."""
    return f"{measure.name} {unit_word(measure.unit)}".strip()


def tar_tables(results: Sequence[Any]) -> list[Any]:
    """Return the table of TAR: a row a set, mode and FAR, a column a rule; [] where no result has any."""
    from rich.table import Table

    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for result in results:
        for measure in result.measures:
            if measure.name.startswith("tar@far="):
                far, _, rule = measure.name.removeprefix("tar@far=").partition("/")
                rows.setdefault((result.name, result.mode, far), {})[rule] = format_measure(measure)
    if not rows:
        return []
    rules = list(dict.fromkeys(rule for cells in rows.values() for rule in cells))
    table = Table()
    for heading in ("set", "mode", "FAR", *(f"TAR %, {rule}" for rule in rules)):
        table.add_column(heading, overflow="fold")
    last: tuple[str, str] = ("", "")
    for (name, mode, far), cells in rows.items():
        table.add_row(
            *(("", "") if (name, mode) == last else (name, mode)), far, *(cells.get(rule, "") for rule in rules)
        )
        last = (name, mode)
    return [table]


def own_tables(results: Sequence[Any]) -> list[Any]:
    """Return the tables that results bring along."""
    from rich.table import Table

    tables = []
    for result in results:
        for title, content in result.tables.items():
            table = Table(title=f"{result.name}: {title}", title_justify="left")
            by_name = {m.name: m for row in content.rows.values() for m in row if m is not None}
            for heading in ("", *(heading_of(by_name[name]) if name in by_name else name for name in content.columns)):
                table.add_column(heading, overflow="fold")
            for name, row in content.rows.items():
                table.add_row(name, *("" if m is None else format_measure(m) for m in row))
            tables.append(table)
    return tables
