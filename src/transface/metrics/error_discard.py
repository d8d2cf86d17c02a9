"""Error versus discard: what remains of an error rate when the pairs of lowest quality are left out.

Also called error versus reject (ERC, EDC). Shapes: n pairs, k points of a curve.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST_LEFT = 30  # pairs, below which a share of errors says little
DISCARDED = np.arange(20) / 20  # shares left out, 0 to 95 %, where the threshold is found anew


class ErrorDiscardCurve(NamedTuple):
    """A step curve: `error` holds from its `discarded` share to the next.

    Attributes:
        discarded: (k,) shares of all pairs, ascending from 0.
        error: (k,) share of errors among the pairs left.
    """

    discarded: NDArray[np.float64]
    error: NDArray[np.float64]


def pair_quality(qualities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quality (n,) of pairs, the lower of that of their two images (n, 2)."""
    lowest: NDArray[np.float64] = np.asarray(qualities, np.float64).min(-1)
    return lowest


def error_discard_curve(
    errors: NDArray[np.bool_], quality: NDArray[np.float64], *, fewest_left: int = 0
) -> ErrorDiscardCurve:
    """Return the curve of pairs with `errors` (n,) and `quality` (n,): pairs of equal quality are left out together.

    Args:
        errors: of genuine pairs: below the threshold; of impostor pairs: at or above it. The threshold stays fixed.
        fewest_left: the curve ends where fewer pairs are left; 0: it continues to (1, 0), nothing left.

    Raises:
        ValueError: for no pairs, or arrays that do not go together.
    """
    errors, quality = np.asarray(errors, bool), np.asarray(quality, np.float64)
    if errors.ndim != 1 or errors.shape != quality.shape or not len(errors):
        raise ValueError(
            f"errors and quality must be (n,) of at least one pair, got {errors.shape} and {quality.shape}"
        )
    if not np.isfinite(quality).all():
        raise ValueError("quality holds numbers that are not finite")
    order = np.argsort(quality, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(quality[order]) > 0])  # how many are left out at each distinct quality
    total = len(errors)
    left_errors = errors.sum() - np.r_[0, np.cumsum(errors[order])][starts]
    left = total - starts
    kept = left >= fewest_left
    discarded, error = (starts / total)[kept], (left_errors / left)[kept]
    if fewest_left == 0:
        discarded, error = np.r_[discarded, 1.0], np.r_[error, 0.0]
    return ErrorDiscardCurve(discarded, error)


def refitted_discard_curve(
    scores: NDArray[np.float64],
    is_same: NDArray[np.bool_],
    quality: NDArray[np.float64],
    *,
    rate: float,
    shares: NDArray[np.float64] = DISCARDED,
) -> ErrorDiscardCurve:
    """Return the curve of the false non-match rate whose threshold is found anew on the pairs left at each share, as in
    CR-FIQA (CVPR 2023). A threshold in use stays: `error_discard_curve` tells what quality does for it.

    Args:
        scores: (n,) similarities of genuine and impostor pairs; a pair matches from the threshold on, a genuine pair at
            it is an error.
        is_same: (n,) whether a pair is genuine.
        quality: (n,) of pairs; the int(share * n) of lowest quality are left out, of equal ones the first.
        rate: of false matches; the threshold is the score whose rate is nearest, of several the lowest.
        shares: (k,) left out, each below 1.

    Raises:
        ValueError: for arrays that do not go together, or a share that leaves no genuine or no impostor pair.
    """
    scores, is_same, quality = (
        np.asarray(scores, np.float64),
        np.asarray(is_same, bool),
        np.asarray(quality, np.float64),
    )
    if scores.ndim != 1 or not scores.shape == is_same.shape == quality.shape:
        raise ValueError(
            f"scores, is_same and quality must be (n,), got {scores.shape}, {is_same.shape} and {quality.shape}"
        )
    if not (np.isfinite(scores).all() and np.isfinite(quality).all()):
        raise ValueError("scores or quality hold numbers that are not finite")
    order = np.argsort(quality, kind="stable")
    errors = []
    for share in np.asarray(shares, np.float64):
        left = order[int(share * len(order)) :]
        genuine, impostor = np.sort(scores[left][is_same[left]]), np.sort(scores[left][~is_same[left]])
        if not (len(genuine) and len(impostor)):
            raise ValueError(
                f"without {share:g} of the pairs {len(genuine)} genuine and {len(impostor)} impostor are left"
            )
        candidates = np.unique(scores[left])  # ascending: the first of equals is the lowest
        false_matches = (len(impostor) - np.searchsorted(impostor, candidates)) / len(impostor)
        threshold = candidates[np.argmin(np.abs(false_matches - rate))]
        errors.append(np.searchsorted(genuine, threshold, side="right") / len(genuine))
    return ErrorDiscardCurve(np.asarray(shares, np.float64), np.array(errors))


def partial_area(curve: ErrorDiscardCurve, limit: float) -> float:
    """Return the area under the step curve from 0 to a share `limit`, not divided by it."""
    ends = np.minimum(np.r_[curve.discarded[1:], max(limit, curve.discarded[-1])], limit)
    widths = np.maximum(ends - curve.discarded, 0)
    return float((widths * curve.error).sum())


def best_area(error: float, limit: float) -> float:
    """Return the least area there can be: each pair left out was an error, until none is left."""
    return error**2 / 2 - max(error - limit, 0.0) ** 2 / 2


def relative_area(curve: ErrorDiscardCurve, limit: float) -> float:
    """Return the area beyond the least possible, up to `limit`, as a share of the error without discard; NaN where that
    is 0.
    """
    start = float(curve.error[0])
    return (partial_area(curve, limit) - best_area(start, limit)) / start if start > 0 else float("nan")


def threshold_at_error(genuine: NDArray[np.float64], error: float) -> float:
    """Return the threshold at which a share `error` of the genuine scores lies below: their linear quantile."""
    return float(np.quantile(genuine, error))


def threshold_at_false_match_rate(impostor: NDArray[np.float64], rate: float) -> float:
    """Return the lowest threshold, one of the scores or just above all, at or above which at most a share `rate` of
    impostors lies.
    """
    ordered = np.sort(np.asarray(impostor, np.float64))[::-1]
    allowed = int(np.floor(rate * len(ordered) + 1e-9))
    return (
        float(np.nextafter(ordered[min(allowed, len(ordered) - 1)], np.inf))
        if allowed < len(ordered)
        else float(ordered[-1])
    )


class AreaInterval(NamedTuple):
    """A relative area and its 95 % interval, NaN where no replicate has an error."""

    value: float
    low: float
    high: float


def area_intervals(
    errors: NDArray[np.bool_],
    quality: NDArray[np.float64],
    people: NDArray[np.int64],
    *,
    limit: float,
    num_bootstraps: int = 1000,
    seed: int = 0,
) -> AreaInterval:
    """Return the relative area up to `limit` with its 95 % interval by bootstrap over people, the threshold staying
    fixed.

    Args:
        people: (n,) the person of each genuine pair; people are drawn with replacement, each with all their pairs.
    """
    value = relative_area(error_discard_curve(errors, quality), limit)
    _, numbers = np.unique(people, return_inverse=True)
    count = int(numbers.max()) + 1
    generator = np.random.default_rng([seed, 0xEDC])
    found = []
    for _ in range(num_bootstraps):
        weights = np.bincount(generator.integers(0, count, count), minlength=count)[numbers]
        rows = np.repeat(np.arange(len(errors)), weights)
        if len(rows) and errors[rows].any():
            found.append(relative_area(error_discard_curve(errors[rows], quality[rows]), limit))
    low, high = np.quantile(found, [0.025, 0.975]) if found else (np.nan, np.nan)
    return AreaInterval(value, float(low), float(high))
