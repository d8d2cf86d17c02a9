"""Which published figures of recognition a result may stand beside: those of its set, measured in its way."""

import re

from transface.evaluation.results import Result
from transface.reports.reading.published import PublishedRow, read_published

PAIRS_OF_SET = {"lfw": 6000, "cfp_fp": 7000, "agedb_30": 6000, "ijbc": 15_658_489}
IJBC_MODE = "N1D1F1"
_ALIASES = {"lfw": "lfw", "cfpfp": "cfp_fp", "agedb": "agedb_30", "agedb30": "agedb_30", "ijbc": "ijbc"}


def known_set(result: Result) -> str:
    """Return which published set a result is of ("lfw", "cfp_fp", "agedb_30", "ijbc"), or ""."""
    name = "ijbc" if result.protocol == "ijbc" else result.name
    return _ALIASES.get(re.sub(r"[^a-z0-9]", "", name.lower()), "")


def published_rows(result: Result) -> tuple[PublishedRow, ...]:
    """Return the published rows that have a figure for the set of a result."""
    known = known_set(result)
    return tuple(row for row in read_published("recognition") if any(name == known for name, _ in row.figures))


def published_figure(row: PublishedRow, result: Result, measure: str) -> float | None:
    """Return a row's figure for a measure of a result's set, or None."""
    return row.figures.get((known_set(result), measure))


def not_comparable(result: Result) -> str:
    """Return why a result may not be set beside the published figures of its set, or ""."""
    known = known_set(result)
    pairs = result.counts.get("pairs")
    if known and pairs is not None and pairs != PAIRS_OF_SET[known]:
        return (
            f"The published figures are of {PAIRS_OF_SET[known]:,} pairs, {result.name} has {pairs:,} here: not the"
            " same set."
        )
    if known == "ijbc" and result.mode != IJBC_MODE:
        return f"The published figures are of mode {IJBC_MODE}; this result is of mode {result.mode}."
    return ""
