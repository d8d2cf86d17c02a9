"""Published figures to stand beside ours, each marked as published: never measured here.

IJB-C rows: TAR at the ROC point nearest to the FAR, feature norm kept, detector score weighted, flip added (N1D1F1).
Pair-set figures of TransFace are as quoted by TopoFR (NeurIPS 2024).
"""

import re
from typing import NamedTuple

from transface.evaluation.results import Result


class PublishedRow(NamedTuple):
    """One published model: what it was trained on, and its figures as fractions by (set, measure)."""

    model: str
    trained_on: str
    figures: dict[tuple[str, str], float]

    @property
    def label(self) -> str:
        """The name of the row in tables."""
        return f"{self.model}, {self.trained_on}"


FARS = ("1e-06", "1e-05", "1e-04", "1e-03", "1e-02", "1e-01")
PAIR_SETS = ("lfw", "cfp_fp", "agedb_30")
PAIRS_OF_SET = {"lfw": 6000, "cfp_fp": 7000, "agedb_30": 6000, "ijbc": 15_658_489}
IJBC_MODE = "N1D1F1"
_ALIASES = {"lfw": "lfw", "cfpfp": "cfp_fp", "agedb": "agedb_30", "agedb30": "agedb_30", "ijbc": "ijbc"}


def _row(model: str, trained_on: str, *, ijbc: str = "", pairs: str = "") -> PublishedRow:
    """Figures in per cent as the papers print them: `ijbc` at the six FARs, `pairs` of LFW, CFP-FP, AgeDB-30; "-" where
    none.
    """
    columns = [("ijbc", f"tar@far={far}/nearest") for far in FARS] + [(name, "accuracy") for name in PAIR_SETS]
    values = [*(ijbc.split() or ["-"] * len(FARS)), *(pairs.split() or ["-"] * len(PAIR_SETS))]
    return PublishedRow(
        model, trained_on, {key: float(v) / 100 for key, v in zip(columns, values, strict=True) if v != "-"}
    )


PUBLISHED = (
    _row("TransFace-S", "MS1MV2", ijbc="86.75 93.87 96.45 97.51 98.34 98.99"),
    _row("TransFace-B", "MS1MV2", ijbc="86.73 94.15 96.55 97.73 98.47 99.11", pairs="99.82 98.39 98.27"),
    _row("TransFace-L", "MS1MV2", ijbc="86.90 94.55 96.59 97.80 98.45 99.04", pairs="99.83 98.65 98.23"),
    _row("TransFace-S", "Glint360K", ijbc="89.93 96.06 97.33 98.00 98.49 99.11"),
    _row("TransFace-B", "Glint360K", ijbc="88.64 96.18 97.45 98.17 98.66 99.23", pairs="99.85 99.17 98.53"),
    _row("TransFace-L", "Glint360K", ijbc="89.71 96.29 97.61 98.26 98.64 99.19", pairs="99.85 99.32 98.62"),
    _row("IResNet-50 ArcFace, 20 epochs", "MS1MV2", ijbc="- 94.07 95.97 - - -", pairs="99.783 97.943 98.250"),
    _row("IResNet-100 CosFace", "Glint360K", ijbc="- 96.38 97.55 - - -"),
    _row("LVFace-B", "Glint360K", ijbc="- 97.00 97.70 - - -"),
)


def known_set(result: Result) -> str:
    """Return which published set a result is of ("lfw", "cfp_fp", "agedb_30", "ijbc"), or ""."""
    name = "ijbc" if result.protocol == "ijbc" else result.name
    return _ALIASES.get(re.sub(r"[^a-z0-9]", "", name.lower()), "")


def published_rows(result: Result) -> tuple[PublishedRow, ...]:
    """Return the published rows that have a figure for the set of a result."""
    known = known_set(result)
    return tuple(row for row in PUBLISHED if any(name == known for name, _ in row.figures))


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
