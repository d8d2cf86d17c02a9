"""How often yes/no labels are right: whole-number counts that may be summed over parts, and what follows from them.

Shapes: M images, A attributes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Rates = NDArray[np.float64]


class AttributeCounts(NamedTuple):
    """For each attribute (A,): yes called yes, no called yes, no called no, yes called no. Counts of parts add up to
    those of the whole.
    """

    true_positive: Counts
    false_positive: Counts
    true_negative: Counts
    false_negative: Counts

    def plus(self, other: "AttributeCounts") -> "AttributeCounts":
        """Return the counts of both parts together."""
        return AttributeCounts(*(one + two for one, two in zip(self, other, strict=True)))

    def accuracy(self) -> Rates:
        """Return (A,) the share of right answers; NaN where nothing is known."""
        return _share(self.true_positive + self.true_negative, sum(self))  # type: ignore[arg-type]

    def balanced_accuracy(self) -> Rates:
        """Return (A,) the mean of the shares of yes and of no that are right; NaN where one of them does not occur."""
        yes = _share(self.true_positive, self.true_positive + self.false_negative)
        no = _share(self.true_negative, self.true_negative + self.false_positive)
        return (yes + no) / 2

    def minority_f1(self) -> Rates:
        """Return (A,) F1 of the rarer answer of each attribute; 0 where it is never right, NaN where it does not
        occur.
        """
        yes_is_rare = self.true_positive + self.false_negative <= self.true_negative + self.false_positive
        right = np.where(yes_is_rare, self.true_positive, self.true_negative)
        wrong = self.false_positive + self.false_negative
        rare = np.minimum(self.true_positive + self.false_negative, self.true_negative + self.false_positive)
        return np.where(rare > 0, _share(2 * right, 2 * right + wrong), np.nan)


def attribute_counts(
    answers: NDArray[np.bool_], values: NDArray[np.integer], known: NDArray[np.bool_]
) -> AttributeCounts:
    """Return the counts of answers (M, A) bool to labels `values` (M, A), 0 or 1, over those that are `known` (M,
    A).
    """
    yes = values.astype(bool)
    tables = (answers & yes, answers & ~yes, ~answers & ~yes, ~answers & yes)
    return AttributeCounts(*((table & known).sum(0).astype(np.int64) for table in tables))


def majority_accuracy(prevalence: Rates, values: NDArray[np.integer], known: NDArray[np.bool_]) -> Rates:
    """Return (A,) the accuracy of always giving the answer that is more frequent in training, where yes has the share
    `prevalence` (A,).
    """
    answers = np.broadcast_to(np.nan_to_num(prevalence) > 0.5, values.shape)
    return attribute_counts(answers, values, known).accuracy()


def average_precision(scores: NDArray[np.floating], values: NDArray[np.integer], known: NDArray[np.bool_]) -> Rates:
    """Return (A,) the area under precision over recall, steps at every different score; NaN where no yes is known."""
    found = np.full(scores.shape[1], np.nan)
    for column in range(scores.shape[1]):
        rows = known[:, column]
        own, yes = scores[rows, column], values[rows, column].astype(np.int64)
        if not yes.sum():
            continue
        order = np.argsort(-own, kind="stable")
        own, hits = own[order], np.cumsum(yes[order])
        ends = np.r_[np.flatnonzero(np.diff(own)), len(own) - 1]
        recall = hits[ends] / hits[-1]
        found[column] = float((np.diff(np.r_[0.0, recall]) * hits[ends] / (ends + 1)).sum())
    return found


def calibration_error(
    probabilities: NDArray[np.floating], values: NDArray[np.integer], known: NDArray[np.bool_], *, num_bins: int = 15
) -> Rates:
    """Return (A,) the expected calibration error: in bins of one width, the mean gap between probability and share of
    yes, by their size.
    """
    found = np.full(probabilities.shape[1], np.nan)
    for column in range(probabilities.shape[1]):
        rows = known[:, column]
        if rows.any():
            own = probabilities[rows, column].astype(np.float64)
            place = np.minimum((own * num_bins).astype(np.int64), num_bins - 1)
            gaps = np.bincount(place, weights=own - values[rows, column], minlength=num_bins)
            found[column] = float(np.abs(gaps).sum() / len(own))
    return found


def best_thresholds(
    probabilities: NDArray[np.floating], values: NDArray[np.integer], known: NDArray[np.bool_]
) -> Rates:
    """Return (A,) the threshold of the best accuracy on these images, between two probabilities; the nearest to 0.5 of
    equals.
    """
    found = np.full(probabilities.shape[1], 0.5)
    for column in range(probabilities.shape[1]):
        rows = known[:, column]
        if not rows.any():
            continue
        own = np.sort(probabilities[rows, column].astype(np.float64))
        order = np.argsort(probabilities[rows, column], kind="stable")
        yes = values[rows, column].astype(np.int64)[order]
        # Calling the k lowest "no" and the rest "yes": right are the "no" below and the "yes" above.
        right = np.r_[0, np.cumsum(1 - yes)] + yes.sum() - np.r_[0, np.cumsum(yes)]
        cuts = np.r_[0.0, (own[1:] + own[:-1]) / 2, max(1.0, np.nextafter(own[-1], 2.0))]
        allowed = np.r_[True, own[1:] > own[:-1], True]
        best = np.flatnonzero(allowed & (right == right[allowed].max()))
        found[column] = cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]]
    return found


def _share(part: Counts, whole: Counts) -> Rates:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)
