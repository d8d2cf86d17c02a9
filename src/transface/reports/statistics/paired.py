"""Two results on the same pairs, compared pair by pair: the differences in accuracy and in TAR with their 95 %
intervals, and a test.

Only pairs that one of the two decides rightly and the other wrongly carry information. Where the people of the pairs
are known, people are drawn again (pairs that share a person are not independent); else pairs count as independent and
the test is McNemar's, exact.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from transface.evaluation.results import Result, read_arrays
from transface.metrics.confidence import paired_test
from transface.metrics.tar_at_far import operating_points
from transface.reports.reading.measures import strict_far

Z95 = 1.959963984540054
Arrays = dict[str, NDArray[Any]]


class PairedComparison(NamedTuple):
    """How A differs from B on the same pairs.

    Attributes:
        difference: share of pairs A decides rightly minus that of B.
        low: lower end of its 95 % interval.
        high: upper end.
        only_first: pairs that A alone decides rightly.
        only_second: pairs that B alone decides rightly.
        p_value: two-sided, of no difference.
        by_people: whether people were drawn again.
    """

    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p_value: float
    by_people: bool = False


def compare_decisions(
    first: NDArray[np.bool_], second: NDArray[np.bool_], *, subjects: NDArray[Any] | None = None
) -> PairedComparison:
    """Return the comparison of two (P,) arrays of right decisions on the same pairs, of the people (P, 2) if they are
    known.

    Without people the interval is Wald's after half a pair is added to both disagreeing counts and one to both others
    (Agresti and Min 2005).

    Raises:
        ValueError: if the arrays differ in length or are empty.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise ValueError(
            f"paired comparison needs two equally long, non-empty lists, got shapes {first.shape} and {second.shape}"
        )
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if subjects is not None:
        test = paired_test(first, second, subjects=subjects)
        return PairedComparison(
            test.difference, test.low, test.high, only_first, only_second, test.p_value, by_people=True
        )
    total = len(first) + 2
    gain, loss = only_first + 0.5, only_second + 0.5
    centre = (gain - loss) / total
    half = Z95 * float(np.sqrt(max(gain + loss - (gain - loss) ** 2 / total, 0.0))) / total
    disagreeing = only_first + only_second
    p_value = float(stats.binomtest(only_first, disagreeing).pvalue) if disagreeing else 1.0
    return PairedComparison(
        (only_first - only_second) / len(first), centre - half, centre + half, only_first, only_second, p_value
    )


def compare_results(first: Result, second: Result) -> dict[str, PairedComparison]:
    """Return the comparisons of two results by measure: accuracy, and each TAR by the rule strict that both have.

    Empty where they are not known to be of the same pairs. A TAR is compared with each result's own threshold, taken as
    given.
    """
    if not first.samples_hash or first.samples_hash != second.samples_hash:
        return {}
    one, other = read_arrays(first), read_arrays(second)
    subjects = one.get("subjects")
    found: dict[str, PairedComparison] = {}
    shapes = [arrays["correct"].shape for arrays in (one, other) if "correct" in arrays]
    if len(shapes) == 2 and shapes[0] == shapes[1] and len(shapes[0]) == 1:
        found["accuracy"] = compare_decisions(
            one["correct"].astype(bool), other["correct"].astype(bool), subjects=subjects
        )
    if {"scores", "is_same"} <= one.keys() & other.keys() and np.array_equal(one["is_same"], other["is_same"]):
        shared = [
            m.name
            for m in first.measures
            if m.name in {n.name for n in second.measures} and strict_far(m.name) is not None
        ]
        genuine = one["is_same"].astype(bool)
        people = None if subjects is None else subjects[genuine]
        for name, accepted, accepted_too in zip(
            shared, accepted_genuine(one, shared), accepted_genuine(other, shared), strict=True
        ):
            found[name] = compare_decisions(accepted, accepted_too, subjects=people)
    return found


def accepted_genuine(arrays: Arrays, measures: list[str]) -> list[NDArray[np.bool_]]:
    """Return, for each TAR measure, whether each genuine pair is accepted at the threshold its own impostors set."""
    if not measures:
        return []
    genuine = arrays["is_same"].astype(bool)
    scores, impostors = arrays["scores"][genuine], arrays["scores"][~genuine]
    fars = [far for name in measures if (far := strict_far(name)) is not None]
    points = operating_points(scores, impostors, fars, rules=("strict",))
    return [scores >= point.threshold for point in points]


def decisions_of(result: Result) -> NDArray[np.bool_] | None:
    """Return (P,) whether each pair was decided rightly, or None where the result does not hold it."""
    correct = read_arrays(result).get("correct")
    return None if correct is None else np.asarray(correct, bool)


def p_text(p_value: float) -> str:
    """Return a p value as it is printed."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.4f}" if p_value < 0.01 else f"{p_value:.2f}"
