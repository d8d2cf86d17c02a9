"""How a measure is named and printed: per cent with two decimals, +- the spread over folds, its 95 % interval in brackets."""

import re
from collections.abc import Iterable

from transface.evaluation.results import Measure, Result
from transface.reports.page.document import Cell

_TAR = re.compile(r"^(tar|tpir)@(far|fpir)=([0-9.e+-]+)(?:/(\w+))?$")


def is_rate(name: str) -> bool:
    """Return whether a measure is printed in per cent."""
    return not name.startswith(("threshold", "auc", "best_threshold")) and "ratio" not in name


def decimals_of(name: str) -> int:
    """Return how many decimals a measure is printed with."""
    return 4 if name.startswith("auc") else 3 if "threshold" in name else 2


def higher_is_better(name: str) -> bool | None:
    """Return which way a measure improves, or None where neither way is better (a threshold)."""
    if "threshold" in name:
        return None
    return not (name.startswith("eer") or "error" in name)


def short_far(text: str) -> str:
    """Return a rate as it is printed: 1e-04 -> 1e-4, 0.01 -> 0.01."""
    return re.sub(r"e([+-])0+(?=\d)", r"e\1", text)


def title_of(name: str) -> str:
    """Return the column title of a measure, its unit included; the rule of a TAR is left to the table's caption."""
    match = _TAR.match(name)
    if match:
        rate, at, value, _ = match.groups()
        return f"{rate.upper()} % at {at.upper()} {short_far(value)}"
    known = {"auc": "AUC", "eer": "EER %", "threshold_cosine": "Threshold (cosine)", "best_threshold_cosine": "Best threshold (cosine)"}
    if name in known:
        return known[name]
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:] + (" %" if is_rate(name) else "")


def number(name: str, value: float) -> str:
    """Return a value of a measure as text."""
    return f"{100 * value if is_rate(name) else value:.{decimals_of(name)}f}"


def interval_text(measure: Measure) -> str:
    """Return "[low, high]", or "" where no interval was estimated."""
    if measure.low is None or measure.high is None:
        return ""
    return f"[{number(measure.name, measure.low)}, {number(measure.name, measure.high)}]"


def value_text(measure: Measure) -> str:
    """Return the value, +- its spread over folds where it has one: "99.78 +- 0.26"."""
    spread = "" if measure.std is None else f" +- {number(measure.name, measure.std)}"
    return number(measure.name, measure.value) + spread


def cell_of(measure: Measure | None, *, best: bool = False) -> Cell:
    """Return the cell of a measure; empty for None."""
    if measure is None:
        return Cell()
    return Cell(value_text(measure), interval_text(measure), doubtful=bool(measure.warning), best=best)


def find_measure(result: Result | None, name: str) -> Measure | None:
    """Return a result's measure of that name, or None."""
    return next((m for m in result.measures if m.name == name), None) if result is not None else None


def measure_names(results: Iterable[Result]) -> list[str]:
    """Return the names of all measures of results, in the order they first appear."""
    return list(dict.fromkeys(measure.name for result in results for measure in result.measures))


def spoken_value(measure: Measure) -> str:
    """Return a measure in words: "accuracy 98.00 %"."""
    title = title_of(measure.name)
    name, unit = (title.replace(" %", ""), " %") if is_rate(measure.name) else (title, "")
    return f"{name if name[:2].isupper() else name[:1].lower() + name[1:]} {number(measure.name, measure.value)}{unit}"


def tar_rule(name: str) -> str:
    """Return the rule of a TAR-at-FAR measure ("nearest", "strict"), or ""."""
    match = _TAR.match(name)
    return (match.group(4) or "") if match else ""


def strict_far(name: str) -> float | None:
    """Return the FAR of a TAR measure by the rule strict, or None for any other measure."""
    match = _TAR.match(name)
    return float(match.group(3)) if match and match.group(1) == "tar" and match.group(4) == "strict" else None


def best_of(name: str, measures: Iterable[Measure | None]) -> Measure | None:
    """Return the best of one column's measures, or None where it has no better end or nothing to compare."""
    held = [measure for measure in measures if measure is not None]
    direction = higher_is_better(name)
    if direction is None or len(held) < 2:
        return None
    return (max if direction else min)(held, key=lambda measure: measure.value)
