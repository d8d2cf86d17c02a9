"""How a measure is named and printed in reports: its unit and direction are fields of it, never read from its name."""

import re
from collections.abc import Iterable
from typing import Self

from transface.evaluation.results import Better, Measure, Result, Unit, apart_from_tables, format_number, unit_word
from transface.reports.page.document import Cell

ACRONYMS = ("fmr", "fnmr", "fdr", "garbe", "tar", "far")
_TAR = re.compile(r"^(tar|tpir)@(far|fpir)=([0-9.e+-]+)(?:/(\w+))?$")


class MeasureName(str):
    """The name of a measure, or of a metric that stands for one ("lfw/accuracy"), with its unit and direction.

    Attributes:
        unit, better: as Measure has them.
        home: protocol, kind of result and unit of what alone it stands for, where other results have a measure of the
            same name; None: it stands for all of that name.
    """

    unit: Unit
    better: Better | None
    home: tuple[str, str, str] | None

    def __new__(
        cls, name: str, unit: Unit = "", better: Better | None = None, home: tuple[str, str, str] | None = None
    ) -> Self:
        found = super().__new__(cls, name)
        found.unit = unit
        found.better = better
        found.home = home
        return found


def is_of(metric: str, result: Result, measure: Measure) -> bool:
    """Return whether a metric stands for a result's measure of its name."""
    home = getattr(metric, "home", None)
    return home is None or home == (result.protocol, result.kind, measure.unit)


def named(measure: Measure) -> MeasureName:
    """Return the name of a measure with its unit and direction."""
    return MeasureName(measure.name, measure.unit, measure.better)


def is_rate(name: MeasureName) -> bool:
    """Return whether a measure is printed in per cent."""
    return name.unit == "rate"


def short_far(text: str) -> str:
    """Return a rate as it is printed: 1e-04 -> 1e-4, 0.01 -> 0.01."""
    return re.sub(r"e([+-])0+(?=\d)", r"e\1", text)


def title_of(name: MeasureName) -> str:
    """Return the column title of a measure, its unit included; the rule of a TAR is left to the table's caption."""
    match = _TAR.match(name)
    if match:
        rate, at, value, _ = match.groups()
        return f"{rate.upper()} % at {at.upper()} {short_far(value)}"
    known = {
        "auc": "AUC",
        "eer": "EER %",
        "threshold_cosine": "Threshold (cosine)",
        "best_threshold_cosine": "Best threshold (cosine)",
    }
    if name in known:
        return known[name]
    words = " ".join(word.upper() if word in ACRONYMS or len(name) <= 3 else word for word in name.split("_"))
    unit = " %" if is_rate(name) else f" ({unit_word(name.unit)})" if unit_word(name.unit) else ""
    return words[:1].upper() + words[1:] + unit


def number(name: MeasureName, value: float) -> str:
    """Return a value of a measure as text."""
    return format_number(value, name.unit)


def interval_text(measure: Measure) -> str:
    """Return "[low, high]", or "" where no interval was estimated."""
    if measure.low is None or measure.high is None:
        return ""
    return f"[{format_number(measure.low, measure.unit)}, {format_number(measure.high, measure.unit)}]"


def value_text(measure: Measure) -> str:
    """Return the value, +- its spread over folds where it has one: "99.78 +- 0.26"."""
    spread = "" if measure.std is None else f" +- {format_number(measure.std, measure.unit)}"
    return format_number(measure.value, measure.unit) + spread


def cell_of(measure: Measure | None, *, best: bool = False) -> Cell:
    """Return the cell of a measure; empty for None."""
    if measure is None:
        return Cell()
    return Cell(value_text(measure), interval_text(measure), doubtful=bool(measure.warning), best=best)


def find_measure(result: Result | None, name: str) -> Measure | None:
    """Return a result's measure of that name, or None."""
    return next((m for m in result.measures if m.name == name), None) if result is not None else None


def measure_names(results: Iterable[Result]) -> list[MeasureName]:
    """Return the names of the measures of results, in the order they first appear; those that stand in tables of their
    own are left to these.
    """
    return list(dict.fromkeys(named(measure) for result in results for measure in apart_from_tables(result)))


def named_value_text(measure: Measure) -> str:
    """Return a measure in words: "accuracy 98.00 %"."""
    title = title_of(named(measure))
    name, unit = (title.replace(" %", ""), " %") if measure.unit == "rate" else (title, "")
    return (
        f"{name if name[:2].isupper() else name[:1].lower() + name[1:]}"
        f" {format_number(measure.value, measure.unit)}{unit}"
    )


def tar_rule(name: str) -> str:
    """Return the rule of a TAR-at-FAR measure ("nearest", "strict"), or ""."""
    match = _TAR.match(name)
    return (match.group(4) or "") if match else ""


def strict_far(name: str) -> float | None:
    """Return the FAR of a TAR measure by the rule strict, or None for any other measure."""
    match = _TAR.match(name)
    return float(match.group(3)) if match and match.group(1) == "tar" and match.group(4) == "strict" else None


def best_of(measures: Iterable[Measure | None]) -> Measure | None:
    """Return the best of one column's measures, or None where it has no better end or nothing to compare."""
    held = [measure for measure in measures if measure is not None]
    if len(held) < 2 or held[0].better is None:
        return None
    return (max if held[0].better == "higher" else min)(held, key=lambda measure: measure.value)
