"""Whether two models differ by more than chance: McNemar, Holm, paired permutation, intervals by the cluster bootstrap.

Shapes: n images, R replicates, T tests, C clusters (people; an image of its own where nobody knows).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

EXACT_BELOW = (
    25  # discordant images: below, the binomial is exact; from there on the chi-square with Edwards' correction serves
)
CHUNK_CELLS = 1 << 23  # draws kept at once

Floats = NDArray[np.float64]


class PairedTest(NamedTuple):
    """What a paired comparison says.

    Attributes:
        p_value: two-sided.
        difference: what was compared, the second model minus the first.
        low, high: the 95 % interval of the difference.
        only_first, only_second: images that one of the two alone got right; 0 where the test counts no images.
        num_images: of the comparison.
    """

    p_value: float
    difference: float
    low: float
    high: float
    only_first: int = 0
    only_second: int = 0
    num_images: int = 0


def mcnemar(b: int, c: int) -> float:
    """Return the two-sided p-value of McNemar's test of b and c discordant images.

    Exact binomial where b + c is below 25, else chi-square with one degree of freedom and continuity correction,
    (|b - c| - 1)^2 / (b + c). Models that never disagree, and b equal to c, give 1.

    Args:
        b: images that the first model alone gets right.
        c: images that the second model alone gets right.

    Raises:
        ValueError: for a count that is negative or not whole.

    Example:
        >>> round(mcnemar(15, 5), 4)
        0.0414
    """
    for name, count in (("b", b), ("c", c)):
        if isinstance(count, bool) or not np.isfinite(count) or count < 0 or int(count) != count:
            raise ValueError(f"{name} must be a count of images, 0 or more, got {count!r}")
    b, c = int(b), int(c)
    total = b + c
    if b == c:
        return 1.0
    if total < EXACT_BELOW:
        return float(min(1.0, 2 * stats.binom.cdf(min(b, c), total, 0.5)))
    return float(stats.chi2.sf((abs(b - c) - 1) ** 2 / total, 1))


def holm(p_values: ArrayLike) -> Floats:
    """Return Holm's adjusted p-values (T,), in the order given: each at most the level says significant among all of
    them.

    Raises:
        ValueError: for values that are no probabilities, or not in one row.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"p_values must be one row (T,), got {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p-values lie in [0, 1], got {values.tolist()}")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)) if len(values) else []
    return np.minimum(adjusted, 1.0)


def compare_correct(
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    num_bootstraps: int = 2000,
    seed: int = 0,
) -> PairedTest:
    """Return McNemar's test of two models on the same images, with the interval of the difference of accuracy.

    Args:
        first, second: (n,) bool, which images each model got right.
        clusters: (n,) whose image each is; images of one person are drawn together.
    """
    right, other = _same_rows(np.asarray(first, dtype=bool), np.asarray(second, dtype=bool))
    b, c = int((right & ~other).sum()), int((~right & other).sum())
    difference = other.astype(np.float64) - right.astype(np.float64)
    low, high = bootstrap_interval(difference, clusters=clusters, num_bootstraps=num_bootstraps, seed=seed)
    return PairedTest(mcnemar(b, c), float(difference.mean()), low, high, b, c, len(right))


def paired_permutation(
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    num_permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Return the two-sided p-value of the mean difference of paired numbers (errors in years, say): signs swap at
    random.

    With clusters the signs of all images of one swap together. Up to 2^14 sign patterns all are walked and the value is
    exact; above, the observed one counts among the random ones, so that it is never 0.

    Args:
        first, second: (n,) numbers of the same images.
    """
    one, two = _same_rows(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    sums = _cluster_sums(two - one, clusters)
    if not np.isfinite(sums).all():
        raise ValueError("the numbers to compare must be finite")
    observed = abs(sums.sum())
    tolerance = 1e-12 * max(1.0, np.abs(sums).sum())
    count = len(sums)
    if count <= 14:
        patterns = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((2 * patterns - 1) @ sums) >= observed - tolerance).mean())
    generator = np.random.default_rng(seed)
    extreme, left = 1, num_permutations
    while left:
        rows = min(left, max(CHUNK_CELLS // count, 1))
        signs = generator.integers(0, 2, (rows, count), dtype=np.int8).astype(np.float32) * 2 - 1
        extreme += int((np.abs(signs @ sums) >= observed - tolerance).sum())
        left -= rows
    return extreme / (num_permutations + 1)


def compare_errors(
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    num_permutations: int = 10_000,
    num_bootstraps: int = 2000,
    seed: int = 0,
) -> PairedTest:
    """Return the paired permutation test of two models' absolute errors (n,), with the interval of the difference of
    their means.
    """
    one, two = _same_rows(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    p_value = paired_permutation(one, two, clusters=clusters, num_permutations=num_permutations, seed=seed)
    low, high = bootstrap_interval(two - one, clusters=clusters, num_bootstraps=num_bootstraps, seed=seed)
    return PairedTest(p_value, float((two - one).mean()), low, high, num_images=len(one))


def bootstrap_interval(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    statistic: Callable[[NDArray[Any]], float] | None = None,
    num_bootstraps: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic of (n, ...) values when the clusters are drawn again.

    Args:
        values: one row an image.
        clusters: (n,) whose image each is; None: every image for itself.
        statistic: of the rows drawn; None: their mean, which is fast.

    Raises:
        ValueError: for no values, or clusters of another number.
    """
    rows = np.asarray(values)
    if not len(rows):
        raise ValueError("an interval needs at least one value")
    if num_bootstraps < 1 or not 0 < level < 1:
        raise ValueError(f"num_bootstraps must be at least 1 and level in (0, 1), got {num_bootstraps} and {level}")
    generator = np.random.default_rng(seed)
    if statistic is None:
        replicates = _replicated_means(rows.astype(np.float64), clusters, num_bootstraps, generator)
    else:
        replicates = np.array(
            [statistic(rows[drawn]) for drawn in _draws(len(rows), clusters, num_bootstraps, generator)]
        )
    low, high = np.nanquantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    clusters: ArrayLike,
    *,
    num_bootstraps: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of `statistic(rows)`, the rows (m,) of the images of people drawn again.

    Args:
        clusters: (n,) whose image each is: names or numbers.
    """
    names = np.asarray(clusters)
    return bootstrap_interval(
        np.arange(len(names)),
        clusters=names,
        statistic=statistic,
        num_bootstraps=num_bootstraps,
        level=level,
        seed=seed,
    )


def _same_rows(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise ValueError(
            f"a paired test needs one number an image from both models, got {first.shape} and {second.shape}"
        )
    return first, second


def _numbered(count: int, clusters: ArrayLike | None) -> NDArray[np.int64]:
    if clusters is None:
        return np.arange(count)
    names = np.asarray(clusters)
    if names.shape != (count,):
        raise ValueError(f"clusters must name one for each of the {count} images, got {names.shape}")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _cluster_sums(values: Floats, clusters: ArrayLike | None) -> Floats:
    return np.bincount(_numbered(len(values), clusters), weights=values).astype(np.float64)


def _replicated_means(
    values: Floats, clusters: ArrayLike | None, num_bootstraps: int, generator: np.random.Generator
) -> Floats:
    if values.ndim != 1:
        raise ValueError(f"the mean is of one number an image, got {values.shape}: give a statistic")
    numbers = _numbered(len(values), clusters)
    sums, sizes = np.bincount(numbers, weights=values), np.bincount(numbers)
    found, count = np.empty(num_bootstraps), len(sums)
    step = max(CHUNK_CELLS // count, 1)
    for start in range(0, num_bootstraps, step):
        drawn = generator.integers(0, count, (min(step, num_bootstraps - start), count))
        found[start : start + len(drawn)] = sums[drawn].sum(1) / sizes[drawn].sum(1)
    return found


def _draws(count: int, clusters: ArrayLike | None, num_bootstraps: int, generator: np.random.Generator) -> Any:
    numbers = _numbered(count, clusters)
    order = np.argsort(numbers, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    for _ in range(num_bootstraps):
        drawn = generator.integers(0, len(members), len(members))
        yield np.concatenate([members[place] for place in drawn])


def significant(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Return which of some tests are significant together, by Holm."""
    return [bool(value <= level) for value in holm(p_values)]
