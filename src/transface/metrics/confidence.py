"""How sure a rate is: 95 % intervals from bootstrap standard errors, the paired test of two results, the warning of too
few impostors.

The interval is Wilson's with an effective number of trials: as many as would give the bootstrap's standard error. Near
0 and 1, where faces are judged, it keeps its coverage; percentiles of the bootstrap do not (docs/evaluation.md has the
measurements).
Shapes: N pairs, S subjects, R bootstrap replicates.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RELIABLE_IMPOSTORS = 100  # behind a threshold: their number is then known to 10 %
FEWEST_IN_FOLD = 10  # pairs; fewer tell too little of their own spread


class Interval(NamedTuple):
    """An interval around a rate: `low` and `high` in [0, 1], and the standard error it was made of."""

    low: float
    high: float
    standard_error: float


def is_measured(rate: float, num_trials: int) -> bool:
    """Return whether a false accept rate can be told from `num_trials` impostors: at least one of them is expected.

    Below it the threshold lies beyond all that was measured, and a bootstrap, which draws the same highest impostors
    again and again, knows nothing of how far: an interval would be narrower than that of an easier rate.
    """
    return rate * num_trials * (1 + 1e-12) >= 1


def rate_interval(rate: float, standard_error: float, *, num_trials: int, level: float = 0.95) -> Interval:
    """Return Wilson's interval of a rate whose standard error is given.

    Where the rate is 0 or 1, or the error 0, the pairs were as good as `num_trials` independent ones.

    Raises:
        ValueError: if the rate is not in [0, 1] or there are no trials.
    """
    if not 0 <= rate <= 1 or num_trials < 1:
        raise ValueError(f"want a rate in [0, 1] of at least one trial, got {rate} of {num_trials}")
    variance = rate * (1 - rate)
    # Equal replicates differ by rounding: such an error is none.
    known = variance > 0 and standard_error > 1e-9
    trials = variance / standard_error**2 if known else float(num_trials)
    z = float(stats.norm.isf((1 - level) / 2))
    shrink = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z * np.sqrt(variance / trials + (z / (2 * trials)) ** 2) / shrink
    # Rounding may not put the rate outside its own interval.
    return Interval(
        float(min(max(centre - half, 0.0), rate)), float(max(min(centre + half, 1.0), rate)), float(standard_error)
    )


def accuracy_interval(
    correct: ArrayLike,
    folds: ArrayLike,
    *,
    best_accuracy: float | None = None,
    subjects: ArrayLike | None = None,
    num_bootstraps: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the interval of the mean fold accuracy.

    A threshold chosen on other pairs is a little worse than the best one, and one chosen on these pairs looks a little
    better. Near the optimum accuracy over thresholds is a parabola plus a random walk, whose maximum M and loss at it
    stand as 3 to 1 (M grows as the walk's scale to the 4/3): the best threshold's true accuracy lies a quarter of the
    way from the fold accuracy to `best_accuracy`. That is the centre where `best_accuracy` is given; half the gap is
    added to the error for the choice's own noise (coverage over simulated sets: docs/evaluation.md). Without it the
    decisions count as if the thresholds had been given.

    Args:
        correct: (N,) whether each pair was decided rightly, with the threshold of its fold.
        folds: (N,) fold numbers.
        best_accuracy: the highest any single threshold reaches on all these pairs.
        subjects: (N, 2) the two people of each pair, if known: then people are drawn, else pairs within folds.
        num_bootstraps: R.
        seed: of the draws.
        level: of confidence.

    Raises:
        ValueError: if the lengths differ.
    """
    right, fold = np.asarray(correct, bool), np.asarray(folds)
    if right.shape != fold.shape or right.ndim != 1 or len(right) == 0:
        raise ValueError(f"want one decision and one fold for each pair, got shapes {right.shape} and {fold.shape}")
    random = np.random.default_rng(seed)
    if subjects is None:
        error = _error_of_drawn_pairs(right, fold, random, num_bootstraps)
    else:
        error = subject_standard_error(right, subjects, random, num_bootstraps=num_bootstraps)
    _, numbers = np.unique(fold, return_inverse=True)
    rate = float((np.bincount(numbers, weights=right) / np.bincount(numbers)).mean())
    gap = 0.0 if best_accuracy is None else max(best_accuracy - rate, 0.0)
    found = rate_interval(rate + gap / 4, float(np.hypot(error, gap / 2)), num_trials=len(right), level=level)
    return found._replace(low=min(found.low, rate), high=max(found.high, rate))


def _error_of_drawn_pairs(
    right: NDArray[np.bool_], fold: NDArray[np.int64], random: np.random.Generator, num_bootstraps: int
) -> float:
    """Standard error over replicates in which each fold's pairs are drawn again, as many as it has.

    Folds of few pairs draw from all of them: a fold of one pair has no spread of its own, and the error would be 0.
    """
    _, numbers = np.unique(fold, return_inverse=True)
    sizes = np.bincount(numbers)
    shares = np.bincount(numbers, weights=right) / sizes
    if sizes.min() < FEWEST_IN_FOLD:
        shares = np.full(len(sizes), right.mean())
    # Drawing n pairs with replacement, of which a share p is right, gives a binomial number of right ones.
    drawn = random.binomial(sizes, shares, size=(num_bootstraps, len(sizes)))
    return float((drawn / sizes).mean(axis=1).std(ddof=1)) if num_bootstraps > 1 else 0.0


def subject_standard_error(
    values: ArrayLike, subjects: ArrayLike, random: np.random.Generator, *, num_bootstraps: int = 1000
) -> float:
    """Return the standard error of the mean of values of pairs (N,) when people are drawn again.

    A pair of people drawn a and b times counts a * b times, one of a single person a times. That counts a pair's own
    noise three times, and it is known how much that is: it is taken off (the variance is then the one robust to pairs
    that share a person). Few people make it too small; S / (S - 2) mends most of that.
    """
    pairs = np.asarray(subjects).reshape(-1, 2)
    scores = np.asarray(values, np.float64)
    if len(pairs) != len(scores):
        raise ValueError(f"want the two subjects of each of the {len(scores)} pairs, got {len(pairs)}")
    people, members = np.unique(pairs, return_inverse=True)
    members = members.reshape(-1, 2)
    counts = random.poisson(1.0, (num_bootstraps, len(people))).astype(np.float32)
    single = members[:, 0] == members[:, 1]
    residuals = scores - scores.mean()
    replicates = np.empty(num_bootstraps)
    for number, count in enumerate(counts):
        weights = np.where(single, count[members[:, 0]], count[members[:, 0]] * count[members[:, 1]])
        total = weights.sum()
        replicates[number] = (weights @ residuals) / total if total else 0.0
    if num_bootstraps < 2:
        return 0.0
    variance = replicates.var(ddof=1) * dyadic_share(residuals, members, num_people=len(people))
    return float(np.sqrt(variance * few_people_factor(len(people))))


def few_people_factor(num_people: int) -> float:
    """Return by how much a variance over people is raised because their mean was estimated from the same few."""
    return num_people / (num_people - 2) if num_people > 2 else 1.0


def dyadic_share(residuals: NDArray[np.float64], members: NDArray[np.int64], *, num_people: int) -> float:
    """Return the share of the product bootstrap's variance that is real: 1 - 2 D / (H + D).

    H sums over people the squared sum of the residuals of their pairs, D over pairs of people the squared sum of
    theirs. The bootstrap's variance is H + D, the one robust to shared people H - D. Pairs of one person are drawn as
    one and enter H alone.
    """
    single = members[:, 0] == members[:, 1]
    per_person = np.bincount(members[:, 0], weights=residuals, minlength=num_people)
    per_person += np.bincount(members[~single, 1], weights=residuals[~single], minlength=num_people)
    low, high = members[~single].min(axis=1), members[~single].max(axis=1)
    _, dyads = np.unique(low * num_people + high, return_inverse=True)
    per_dyad = np.bincount(dyads, weights=residuals[~single]) if len(dyads) else np.zeros(1)
    of_people, of_dyads = float(per_person @ per_person), float(per_dyad @ per_dyad)
    if of_people + of_dyads <= 0:
        return 1.0
    return max(of_people - of_dyads, of_dyads) / (of_people + of_dyads)


class PairedTest(NamedTuple):
    """Whether two results on the same pairs differ.

    Attributes:
        difference: mean of the first minus mean of the second.
        low: lower end of its 95 % interval.
        high: upper end.
        p_value: of no difference, two-sided.
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_test(
    first: ArrayLike,
    second: ArrayLike,
    *,
    subjects: ArrayLike | None = None,
    num_bootstraps: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedTest:
    """Return the test of two results' values on the same pairs, e.g. whether each pair was decided rightly, or
    accepted.

    Args:
        first: (N,) values of the one result.
        second: (N,) values of the other, in the same order of pairs.
        subjects: (N, 2) people of each pair, if known: then people are drawn, else pairs.
        num_bootstraps: R.
        seed: of the draws.
        level: of confidence.

    Raises:
        ValueError: if the two are not of the same number of pairs.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1 or len(one) == 0:
        raise ValueError(
            f"a paired test needs both results on the same pairs, got {one.shape} and {other.shape} values"
        )
    gap = one - other
    random = np.random.default_rng(seed)
    if subjects is not None:
        error = subject_standard_error(gap, subjects, random, num_bootstraps=num_bootstraps)
    else:
        values, counts = np.unique(gap, return_counts=True)
        drawn = random.multinomial(len(gap), counts / len(gap), size=num_bootstraps)
        error = float((drawn @ values / len(gap)).std(ddof=1))
    difference = float(gap.mean())
    if error == 0:
        return PairedTest(difference, difference, difference, float(difference == 0))
    half = float(stats.norm.isf((1 - level) / 2)) * error
    return PairedTest(
        difference, difference - half, difference + half, float(2 * stats.norm.sf(abs(difference) / error))
    )


def impostor_warning(num_impostors: int, far: float) -> str:
    """Return a sentence if fewer than 100 impostors are expected above the threshold of a FAR, else ""."""
    behind = far * num_impostors
    if behind >= RELIABLE_IMPOSTORS:
        return ""
    if behind < 1:
        return (
            f"FAR {far:g} of {num_impostors:,} impostors is less than one of them: the threshold lies beyond what was"
            " measured"
        )
    return (
        f"only {behind:.0f} impostors stand behind the threshold at FAR {far:g}: the FAR itself is uncertain by about"
        f" {100 / behind**0.5:.0f} %"
    )
