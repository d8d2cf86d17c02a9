"""Two results on the same pairs, compared pair by pair: the difference in accuracy with its 95 % interval, and McNemar's exact test.

Only pairs that one of the two decides rightly and the other wrongly carry information.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from transface.evaluation.results import Result, read_arrays

Z95 = 1.959963984540054


class PairedComparison(NamedTuple):
    """How A differs from B on the same pairs.

    Attributes:
        difference: accuracy of A minus accuracy of B, as a fraction.
        low: lower end of its 95 % interval.
        high: upper end.
        only_first: pairs that A alone decides rightly.
        only_second: pairs that B alone decides rightly.
        p_value: two-sided, of no difference (McNemar, exact).
    """

    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p_value: float


def compare_decisions(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> PairedComparison:
    """Return the comparison of two (P,) arrays of right decisions on the same pairs.

    The interval is Wald's after half a pair is added to both disagreeing counts and one to both others (Agresti and Min 2005).

    Raises:
        ValueError: if the arrays differ in length or are empty.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise ValueError(f"paired comparison needs two equally long, non-empty lists, got shapes {first.shape} and {second.shape}")
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    total = len(first) + 2
    gain, loss = only_first + 0.5, only_second + 0.5
    centre = (gain - loss) / total
    half = Z95 * float(np.sqrt(max(gain + loss - (gain - loss) ** 2 / total, 0.0))) / total
    disagreeing = only_first + only_second
    p_value = float(stats.binomtest(only_first, disagreeing).pvalue) if disagreeing else 1.0
    return PairedComparison((only_first - only_second) / len(first), centre - half, centre + half, only_first, only_second, p_value)


def decisions_of(result: Result) -> NDArray[np.bool_] | None:
    """Return (P,) whether each pair was decided rightly, or None where the result does not hold it."""
    correct = read_arrays(result).get("correct")
    return None if correct is None else np.asarray(correct, bool)


def compare_results(first: Result, second: Result) -> PairedComparison | None:
    """Return the comparison of two results, or None where they are not known to be of the same pairs or hold no decisions."""
    if not first.pairs_hash or first.pairs_hash != second.pairs_hash:
        return None
    one, other = decisions_of(first), decisions_of(second)
    return None if one is None or other is None or one.shape != other.shape else compare_decisions(one, other)


def holm_adjusted(p_values: list[float]) -> list[float]:
    """Return p values adjusted for their number (Holm's step-down), in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[int(index)]))
        adjusted[int(index)] = running
    return adjusted


def p_text(p_value: float) -> str:
    """Return a p value as it is printed."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.4f}" if p_value < 0.01 else f"{p_value:.2f}"
