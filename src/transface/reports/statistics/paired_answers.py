"""Two results on the same images, compared image by image: errors of a number, and labels of which several may hold.

Numbers (ages): the permutation test of the difference of the mean errors. Labels: the difference of the mean accuracy
with its interval, and McNemar's test for each label with Holm's adjustment for their number. Images of one person are
drawn together where it is known whose they are.
Shapes: n images, A labels.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.evaluation.results import Result, read_arrays
from transface.metrics.significance import (
    PairedTest,
    bootstrap_interval,
    compare_correct,
    compare_errors,
    holm,
    paired_permutation,
)


class ComparedLabels(NamedTuple):
    """Two models' answers to several labels.

    Attributes:
        mean: of the share of right answers over the labels: the second minus the first.
        labels: the test of each label by its name.
        adjusted: Holm's adjusted p value of each label.
    """

    mean: PairedTest
    labels: dict[str, PairedTest]
    adjusted: dict[str, float]


def compare_values(first: Result, second: Result) -> PairedTest | None:
    """Return the test of the mean errors, the second's minus the first's; None where the images differ."""
    if first.kind != "values":  # arrays of millions of pairs are not read to see that they hold no errors
        return None
    one, other = _shared(first, second, "error")
    if one is None or other is None:
        return None
    return compare_errors(one, other, clusters=read_arrays(first).get("subjects"))


def compare_labels(first: Result, second: Result) -> ComparedLabels | None:
    """Return the tests of right answers (n, A); None where the results are not of the same images and labels."""
    if first.kind != "classes":
        return None
    one, other = _shared(first, second, "correct")
    if one is None or other is None or one.ndim != 2:
        return None
    arrays = read_arrays(first)
    known = np.asarray(arrays.get("known", np.ones(one.shape)), dtype=bool)
    people = arrays.get("subjects")
    names = label_names(first, one.shape[1])
    tests = {}
    for place, name in enumerate(names):
        rows = known[:, place]
        if rows.any():
            own = None if people is None else people[rows]
            tests[name] = compare_correct(one[rows, place], other[rows, place], clusters=own)
    adjusted = holm([test.p_value for test in tests.values()])
    # Each label counts alike, however many images have it: the weight of an answer is one over the label's number.
    weights = known / np.maximum(known.sum(0), 1) / max(int(known.any(0).sum()), 1)
    gain = ((other.astype(float) - one.astype(float)) * weights).sum(1) * len(one)
    low, high = bootstrap_interval(gain, clusters=people)
    zeros = np.zeros(len(gain))
    mean = PairedTest(
        paired_permutation(zeros, gain, clusters=people), float(gain.mean()), low, high, num_images=len(gain)
    )
    return ComparedLabels(mean, tests, dict(zip(tests, adjusted.tolist(), strict=True)))


def label_names(result: Result, count: int) -> list[str]:
    """Return the names of a result's labels: the rows of the table that has one for each, else their numbers."""
    for table in result.tables.values():
        if len(table.rows) == count:
            return [str(name) for name in table.rows]
    return [str(place) for place in range(count)]


def _shared(first: Result, second: Result, name: str) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    if not first.samples_hash or first.samples_hash != second.samples_hash:
        return None, None
    one, other = read_arrays(first).get(name), read_arrays(second).get(name)
    return (one, other) if one is not None and other is not None and one.shape == other.shape else (None, None)
