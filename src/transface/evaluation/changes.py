"""How far the numbers of a protocol moved between two runs of it: before and after an export, in two precisions."""

from collections.abc import Sequence
from typing import NamedTuple

from transface.evaluation.results import Measure, Result, format_measure, unit_word

ABSOLUTE_UNITS = ("rate", "ratio")  # of other units (years, pixels) a change is told as a share


class Change(NamedTuple):
    """One result's first measure, before and after."""

    result: str
    before: Measure
    after: Measure

    @property
    def amount(self) -> float:
        """How far the value moved: as it is for rates and ratios, else as a share of the value before."""
        moved = abs(self.after.value - self.before.value)
        return moved if self.before.unit in ABSOLUTE_UNITS else moved / max(abs(self.before.value), 1e-12)

    def __str__(self) -> str:
        unit = f" {unit_word(self.before.unit)}".rstrip()
        values = [format_measure(measure._replace(low=None, high=None, std=None)) for measure in self[1:]]
        return f"{self.result}: {self.before.name} {values[0]}{unit} before, {values[1]}{unit} after"


def changes(before: Sequence[Result], after: Sequence[Result]) -> list[Change]:
    """Return the change of each result's first measure, its headline.

    Raises:
        ValueError: if the two runs did not give the same results.
    """
    first, second = ([(result.stem, result.measures[0].name) for result in run] for run in (before, after))
    if first != second:
        raise ValueError(f"the two runs gave other results, {first} and {second}")
    return [Change(one.stem, one.measures[0], other.measures[0]) for one, other in zip(before, after, strict=True)]
