"""Percentile intervals of any mean over samples, people drawn again where they are known.

Shapes: N samples, A columns (attributes, landmarks), R replicates.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.metrics.confidence import rate_interval

LEVEL = 0.95


class Interval(NamedTuple):
    """Lower and upper end of a 95 % interval."""

    low: float
    high: float


def mean_interval(
    values: NDArray[np.floating],
    *,
    subjects: NDArray[np.generic] | None = None,
    num_bootstraps: int = 1000,
    seed: int = 0,
    rate: bool = False,
) -> Interval | None:
    """Return the 95 % percentile interval of the mean of values (N,), or None where there are too few to tell.

    Samples of one person depend on each other, so people are drawn again where they are known, with all their samples.

    Args:
        values: (N,) finite, e.g. 0 and 1 for wrong and right, or absolute errors.
        subjects: (N,) who is on each; None draws samples.
        num_bootstraps: replicates; 0 gives no interval.
        seed: of the draws.
        rate: the values are shares of what was right or wrong. Where all are 0 or all are 1 the bootstrap knows of
            nothing else, and the interval is Wilson's of as many trials as samples, or people.
    """
    if num_bootstraps < 1 or len(values) < 2:
        return None
    sums, counts = _by_subject(np.asarray(values, dtype=np.float64), subjects)
    if len(sums) < 2:
        return None
    if rate and np.ptp(values) == 0 and values[0] in (0, 1):
        ends = rate_interval(float(values[0]), 0.0, num_trials=len(sums), level=LEVEL)
        return Interval(ends.low, ends.high)
    generator = np.random.default_rng(seed)
    means = np.empty(num_bootstraps)
    for first in range(0, num_bootstraps, 100):
        drawn = generator.integers(len(sums), size=(min(100, num_bootstraps - first), len(sums)))
        means[first : first + len(drawn)] = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _by_subject(
    values: NDArray[np.float64], subjects: NDArray[np.generic] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if subjects is None:
        return values, np.ones(len(values))
    _, place = np.unique(subjects, return_inverse=True)
    return np.bincount(place, weights=values).astype(np.float64), np.bincount(place).astype(np.float64)
