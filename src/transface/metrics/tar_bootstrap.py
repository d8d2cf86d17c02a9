"""Standard errors of TAR at FAR: people (or pairs) are drawn again, the threshold moves with the impostors, the genuine
scores with it.

The same draws serve all FARs. Only the top tail of the impostors is weighted pair by pair, in bins of growing width, so
a thousand replicates of 15.7 million pairs take seconds. An impostor pair of people drawn a and b times counts a * b
times; what that product overstates of a pair's own noise is taken off (see confidence.dyadic_share).
Shapes: G genuine scores, I impostor scores, S people, R replicates, K FARs, L impostors in the tail, E edges of bins.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from transface.metrics.confidence import Interval, few_people_factor, rate_interval
from transface.metrics.tar_at_far import RULES, OperatingPoint, Rule, Scores, as_scores, operating_points

TAIL_BEYOND = 1.6  # the tail reaches this far beyond the largest FAR, for replicates whose threshold lies lower
BIN_GROWTH = 0.05  # beyond the first impostors, a bin is 5 % of those above it
DENSE_CELLS = 1 << 26  # up to so many pairs of people, their counts stand in a dense table
CHUNK_CELLS = 1 << 24  # people x replicates drawn at once
DIRECT_PAIRS = 1024  # bins up to this size are summed pair by pair

Floats = NDArray[np.floating[Any]]


class TarEstimate(NamedTuple):
    """An operating point and the 95 % interval of its TAR."""

    point: OperatingPoint
    interval: Interval


def tar_with_intervals(
    genuine: ArrayLike,
    impostor: ArrayLike,
    fars: Sequence[float],
    *,
    rules: Sequence[Rule] = RULES,
    genuine_subjects: ArrayLike | None = None,
    impostor_subjects: ArrayLike | None = None,
    num_bootstraps: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[TarEstimate]:
    """Return the operating point and interval for each FAR and rule, FARs outermost; arguments as in
    `tar_standard_errors`.
    """
    points = operating_points(genuine, impostor, fars, rules=rules)
    errors = tar_standard_errors(
        genuine,
        impostor,
        fars,
        genuine_subjects=genuine_subjects,
        impostor_subjects=impostor_subjects,
        num_bootstraps=num_bootstraps,
        seed=seed,
    )
    num_genuine = len(np.asarray(genuine))
    per_point = np.repeat(errors, len(rules))
    intervals = [
        rate_interval(p.tar, float(e), num_trials=num_genuine, level=level)
        for p, e in zip(points, per_point, strict=True)
    ]
    return [TarEstimate(point, interval) for point, interval in zip(points, intervals, strict=True)]


def tar_standard_errors(
    genuine: ArrayLike,
    impostor: ArrayLike,
    fars: Sequence[float],
    *,
    genuine_subjects: ArrayLike | None = None,
    impostor_subjects: ArrayLike | None = None,
    num_bootstraps: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return (K,) standard errors of the TAR at each FAR.

    Args:
        genuine: (G,) scores.
        impostor: (I,) scores.
        fars: K false accept rates.
        genuine_subjects: (G,) whole number of the person of each genuine pair; None draws pairs independently.
        impostor_subjects: (I, 2) persons of each impostor pair, numbered alike; or (I,) where one person alone makes a
            score (a search).
        num_bootstraps: R.
        seed: of the draws.

    Replicates in which no impostor or no genuine pair was drawn have no rate and are left out; the errors are 0 where
    fewer than two remain.

    Raises:
        ValueError: if a class is empty, a score is not finite, or subjects are given for one class only or in another
            number.
    """
    genuine_scores, impostor_scores = as_scores(genuine, name="genuine"), as_scores(impostor, name="impostor")
    if (genuine_subjects is None) != (impostor_subjects is None):
        raise ValueError("give the subjects of both the genuine and the impostor pairs, or of neither")
    order = np.argsort(-genuine_scores, kind="stable")
    targets = np.asarray(fars, np.float64)
    tail = _Tail.of(impostor_scores, targets)
    if genuine_subjects is None or impostor_subjects is None:
        draws = _drawn_pairs(len(genuine_scores), len(impostor_scores), tail, num_bootstraps, seed)
        shares, factor = np.ones(len(targets)), 1.0
    else:
        people = _People.of(genuine_subjects, impostor_subjects, len(genuine_scores), len(impostor_scores))
        draws = _drawn_people(people, tail, order, num_bootstraps, seed)
        shares = np.ones(len(targets)) if people.alone else people.real_shares(tail.order, targets)
        factor = few_people_factor(people.num_people - people.alone)
    replicates = np.concatenate(
        [_tars(draw, genuine_scores[order], tail, targets, shares)[draw.is_defined] for draw in draws]
    )
    if len(replicates) < 2:
        return np.zeros(len(targets))
    errors: NDArray[np.float64] = replicates.std(axis=0, ddof=1) * np.sqrt(factor)
    return errors


class _Tail(NamedTuple):
    """The highest impostor scores, falling: `order` (L,) their places, `scores` (L,), `edges` (E,) ranks that part the
    bins, of `total`.
    """

    order: NDArray[np.int64]
    scores: Scores
    edges: NDArray[np.int64]
    total: int

    @classmethod
    def of(cls, impostor: Scores, targets: NDArray[np.float64]) -> "_Tail":
        total = len(impostor)
        length = min(total, int(targets.max(initial=0) * total * TAIL_BEYOND) + 64)
        lowest = np.partition(impostor, total - length)[total - length] if length < total else impostor.min()
        places = np.flatnonzero(impostor >= lowest)
        order = places[np.argsort(-impostor[places], kind="stable")][:length]
        edges = [0]
        while edges[-1] < length:
            edges.append(min(edges[-1] + max(1, int(edges[-1] * BIN_GROWTH)), length))
        return cls(order, impostor[order], np.array(edges), total)


class _Draw(NamedTuple):
    """Some replicates: share of the impostors above each edge (E, R), cumulated share of the genuine, highest first (G
    + 1, R), and whether any impostor and any genuine pair was drawn (R,): without either there is no rate.
    """

    impostor_share: Floats
    genuine_share: Floats
    is_defined: NDArray[np.bool_]


def _drawn_pairs(num_genuine: int, num_impostors: int, tail: _Tail, num_bootstraps: int, seed: int) -> Iterator[_Draw]:
    """Each pair is drawn by itself: a bin of n pairs weighs as much as a Poisson number of mean n."""
    random = np.random.default_rng(seed)
    for count in _chunks(num_bootstraps, num_genuine):
        bins = random.poisson(np.diff(tail.edges)[:, None], (len(tail.edges) - 1, count))
        rest = random.poisson(num_impostors - tail.edges[-1], count)
        weights = random.poisson(1.0, (num_genuine, count)).astype(np.float32)
        total = bins.sum(axis=0) + rest
        yield _Draw(_cumulated(bins) / np.maximum(total, 1), _shares(weights), (total > 0) & weights.any(axis=0))


def _chunks(num_bootstraps: int, rows: int) -> Iterator[int]:
    step = max(1, CHUNK_CELLS // max(rows, 1))
    for start in range(0, num_bootstraps, step):
        yield min(step, num_bootstraps - start)


def _cumulated(rows: Floats | NDArray[np.int64]) -> Floats:
    summed: Floats = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0, dtype=np.float64)])
    return summed


def _shares(weights: Floats) -> Floats:
    summed = np.zeros((len(weights) + 1, weights.shape[1]), np.float32)
    np.cumsum(weights, axis=0, out=summed[1:])
    return summed / np.maximum(summed[-1], 1e-9)


class _People(NamedTuple):
    """Who is on each pair: `genuine` (G,), `low` and `high` (I,), all in 0..S-1, and how often two people meet as
    impostors.

    Where people make a score `alone`, each meets a last one who stands for nobody and is always drawn once.
    """

    num_people: int
    alone: bool
    genuine: NDArray[np.int64]
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    meetings: "sparse.csr_matrix | NDArray[np.float32]"
    squared_meetings: float
    per_person: NDArray[np.float64]

    @classmethod
    def of(
        cls, genuine_subjects: ArrayLike, impostor_subjects: ArrayLike, num_genuine: int, num_impostors: int
    ) -> "_People":
        own, pairs = np.asarray(genuine_subjects), np.asarray(impostor_subjects)
        alone = pairs.ndim == 1
        if alone:
            pairs = pairs.astype(np.int64)  # the last one's number may be beyond a smaller type
            pairs = np.stack([pairs, np.full_like(pairs, max(int(pairs.max()), int(own.max())) + 1)], axis=1)
        if own.shape != (num_genuine,) or pairs.shape != (num_impostors, 2):
            raise ValueError(
                f"subjects must be ({num_genuine},) for genuine and ({num_impostors}, 2) for impostor pairs, got"
                f" {own.shape}, {pairs.shape}"
            )
        numbers, num_people = _numbering(own, pairs)
        first, second = numbers(pairs[:, 0]), numbers(pairs[:, 1])
        low, high = np.minimum(first, second), np.maximum(first, second)
        meetings: Any
        if num_people**2 <= DENSE_CELLS:
            counts = np.bincount(low.astype(np.int64) * num_people + high, minlength=num_people**2)
            meetings = counts.astype(np.float32).reshape(num_people, num_people)
            squared = float(np.square(counts, dtype=np.float64).sum())
        else:
            meetings = sparse.coo_matrix(
                (np.ones(len(low), np.float32), (low, high)), shape=(num_people, num_people)
            ).tocsr()
            squared = float(np.square(meetings.data, dtype=np.float64).sum())
        per_person = np.bincount(low, minlength=num_people) + np.bincount(high, minlength=num_people)
        return cls(
            num_people,
            alone,
            numbers(own).astype(np.int64),
            low,
            high,
            meetings,
            squared,
            per_person.astype(np.float64),
        )

    def real_shares(self, order: NDArray[np.int64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K,) by how much each replicate's false accept rate is drawn towards the measured one: the square root of the
        real share.
        """
        shares = []
        for target in targets:
            top = order[: max(1, round(target * len(self.low)))]
            low, high = self.low[top].astype(np.int64), self.high[top].astype(np.int64)
            keys, counts = np.unique(low * self.num_people + high, return_counts=True)
            met = np.asarray(self.meetings[keys // self.num_people, keys % self.num_people], np.float64).ravel()
            of_dyads = float(counts @ counts - 2 * target * (counts @ met) + target**2 * self.squared_meetings)
            per_person = (
                np.bincount(low, minlength=self.num_people)
                + np.bincount(high, minlength=self.num_people)
                - target * self.per_person
            )
            of_people = float(per_person @ per_person)
            total = of_people + of_dyads
            shares.append(max(of_people - of_dyads, of_dyads) / total if total > 0 else 1.0)
        return np.sqrt(np.array(shares))


def _numbering(own: NDArray[Any], pairs: NDArray[Any]) -> tuple[Any, int]:
    """A function from subject ids to 0..S-1, and S."""
    top = int(max(own.max(), pairs.max()))
    if int(min(own.min(), pairs.min())) >= 0 and top < 1 << 24:
        present = np.zeros(top + 1, bool)
        present[own] = True
        present[pairs.ravel()] = True
        table = np.cumsum(present, dtype=np.int32) - 1
        return (lambda ids: table[ids]), int(present.sum())
    known = np.unique(np.concatenate([own, np.unique(pairs)]))
    return (lambda ids: np.searchsorted(known, ids).astype(np.int32)), len(known)


def _drawn_people(
    people: _People, tail: _Tail, genuine_order: NDArray[np.int64], num_bootstraps: int, seed: int
) -> Iterator[_Draw]:
    """People are drawn: a Poisson number of times each."""
    random = np.random.default_rng(seed)
    for count in _chunks(num_bootstraps, max(people.num_people, len(genuine_order))):
        drawn = random.poisson(1.0, (people.num_people, count)).astype(np.float32)
        if people.alone:
            drawn[-1] = 1
        total = np.einsum("sr,sr->r", people.meetings @ drawn, drawn, dtype=np.float64, optimize=False)
        bins = np.stack(
            [_bin_weight(people, tail.order[a:b], drawn) for a, b in zip(tail.edges[:-1], tail.edges[1:], strict=True)]
        )
        genuine = drawn[people.genuine[genuine_order]]
        yield _Draw(_cumulated(bins) / np.maximum(total, 1e-9), _shares(genuine), (total > 0) & genuine.any(axis=0))


def _bin_weight(people: _People, pairs: NDArray[np.int64], drawn: NDArray[np.float32]) -> NDArray[np.float64]:
    """(R,) sum over pairs of the product of how often their two people are drawn."""
    low, high = people.low[pairs], people.high[pairs]
    if len(pairs) <= DIRECT_PAIRS:
        return np.einsum("pr,pr->r", drawn[low], drawn[high]).astype(np.float64)
    rows, positions = np.unique(low, return_inverse=True)
    met = sparse.coo_matrix(
        (np.ones(len(pairs), np.float32), (positions, high)), shape=(len(rows), people.num_people)
    ).tocsr()
    return np.einsum("sr,sr->r", met @ drawn, drawn[rows]).astype(np.float64)


def _tars(
    draw: _Draw, genuine: Scores, tail: _Tail, targets: NDArray[np.float64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(R, K) the TAR of each replicate at the threshold at which its own FAR is the target."""
    measured = tail.edges[:, None] / tail.total
    columns = np.arange(draw.impostor_share.shape[1])
    tars = np.empty((len(columns), len(targets)))
    for number, (target, share) in enumerate(zip(targets, shares, strict=True)):
        rates = measured + share * (draw.impostor_share - measured)
        after = np.minimum((rates <= target).sum(axis=0), len(tail.edges) - 1)
        below, above = rates[after - 1, columns], rates[after, columns]
        part = np.clip((target - below) / np.maximum(above - below, 1e-300), 0, 1)
        ranks = tail.edges[after - 1] + part * (tail.edges[after] - tail.edges[after - 1])
        thresholds = tail.scores[np.minimum(ranks.astype(np.int64), len(tail.scores) - 1)]
        accepted = np.searchsorted(-genuine, -thresholds, side="left")  # genuine scores above the threshold
        tars[:, number] = draw.genuine_share[accepted, columns]
    return tars
