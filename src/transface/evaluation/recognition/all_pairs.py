"""All pairs of some templates or faces, or as many impostor pairs as are wanted, scored; with a balanced ten-fold
accuracy beside.

Shapes: T templates or faces, P pairs, E embedding size.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.evaluation.recognition.pair_results import (
    NUM_HARDEST,
    IntervalSettings,
    PairImages,
    PairScores,
    pair_result,
)
from transface.evaluation.recognition.pair_sets import accuracy_measures
from transface.evaluation.recognition.template_pooling import PooledTemplates, score_pairs
from transface.evaluation.results import Measure, Result, hash_samples
from transface.images.sources import FaceSource
from transface.metrics.verification import verify_distances

NUM_FOLDS = 10
ONE_PICTURE = 1 - 1e-6  # a cosine that no two photographs reach, and one picture keeps through rounding


class PairList(NamedTuple):
    """Pairs (P, 2) of positions, and whether both are one person (P,)."""

    positions: NDArray[np.int64]
    is_same: NDArray[np.bool_]


def list_pairs(people: NDArray[Any], *, max_impostors: int, seed: int) -> PairList:
    """Return all genuine pairs of T faces of `people` (T,) and all impostor pairs, or `max_impostors` of them drawn
    without repeats.

    Raises:
        ValueError: if there is no genuine or no impostor pair.
    """
    num_impostors = require_both_kinds(people)
    numbers = np.unique(people, return_inverse=True)[1]
    if num_impostors <= max_impostors:
        positions = np.stack(np.triu_indices(len(numbers), 1), axis=1)
    else:
        positions = np.concatenate([_genuine_pairs(numbers), _drawn_impostors(numbers, max_impostors, seed)])
    return PairList(positions, numbers[positions[:, 0]] == numbers[positions[:, 1]])


def require_both_kinds(people: NDArray[Any]) -> int:
    """Return how many impostor pairs the faces of `people` (T,) make; raises ValueError if there are none, or no
    genuine ones.
    """
    _, sizes = np.unique(people, return_counts=True)
    total = len(people) * (len(people) - 1) // 2
    num_genuine = int((sizes * (sizes - 1) // 2).sum())
    if num_genuine == 0 or num_genuine == total:
        kinds = f"{num_genuine} genuine and {total - num_genuine} impostor pairs"
        raise ValueError(f"{len(people)} faces of {len(sizes)} people make {kinds}: both kinds are needed")
    return total - num_genuine


def _genuine_pairs(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.argsort(numbers, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return np.concatenate([group[np.stack(np.triu_indices(len(group), 1), axis=1)] for group in groups])


def _drawn_impostors(numbers: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    keys = np.zeros(0, np.int64)
    while len(keys) < count:
        drawn = np.sort(random.integers(0, len(numbers), (int(1.2 * count) + 16, 2)), axis=1)
        drawn = drawn[numbers[drawn[:, 0]] != numbers[drawn[:, 1]]]
        keys = np.unique(np.concatenate([keys, drawn[:, 0] * len(numbers) + drawn[:, 1]]))
    keys = np.sort(random.permutation(keys)[:count])
    return np.stack([keys // len(numbers), keys % len(numbers)], axis=1)


def balanced_folds(is_same: NDArray[np.bool_], num_pairs: int, seed: int) -> NDArray[np.int64]:
    """Return places of as many genuine as impostor pairs, at most `num_pairs`, drawn and shuffled: each tenth in order
    is a fold.
    """
    random = np.random.default_rng(seed)
    half = min(num_pairs // 2, int(is_same.sum()), int((~is_same).sum()))
    genuine, impostor = (random.permutation(np.flatnonzero(is_same == kind))[:half] for kind in (True, False))
    return np.stack([genuine, impostor], axis=1).reshape(-1)


def one_picture_notes(scores: NDArray[np.floating[Any]], pairs: PairList, names: Sequence[str]) -> tuple[str, ...]:
    """Return what is to be said of pairs whose faces, at their places in `names`, are one picture, as their cosine (P,)
    tells: copies and links.
    """
    found = []
    for kind, what in ((False, "impostor"), (True, "genuine")):
        alike = np.flatnonzero((scores >= ONE_PICTURE) & (pairs.is_same == kind))
        if len(alike):
            first, second = (names[place] for place in pairs.positions[alike[0]].tolist())
            count = int((pairs.is_same == kind).sum())
            then = "any network finds them alike" if kind else "one person under two names makes false accepts of them"
            found.append(
                f"{len(alike):,} of {count:,} {what} pairs are of one picture (cosine 1), {first} and {second} the"
                f" first: {then}"
            )
    return tuple(found)


def too_few_pairs(num_pairs: int, fewest: int) -> str:
    """Return what is to be said where there is no accuracy."""
    return f"accuracy, AUC and EER are left out: {NUM_FOLDS} folds need {fewest} pairs, there are {num_pairs}"


class OwnBenchmark(NamedTuple):
    """What is scored: unit features (T, E), people (T,), the first image (T,) of each in the source, names of the
    images.
    """

    features: NDArray[np.floating[Any]]
    people: NDArray[Any]
    first_image: NDArray[np.int64]
    names: list[str]
    source: FaceSource


def evaluate_all_pairs(
    benchmark: OwnBenchmark,
    settings: IntervalSettings,
    *,
    protocol: str,
    name: str,
    mode: str,
    max_impostors: int,
    num_accuracy_pairs: int = 6000,
    num_hardest: int = NUM_HARDEST,
) -> Result:
    """Return the Result of all pairs of a benchmark: balanced ten-fold accuracy, AUC and EER of that draw, TAR of all
    pairs.
    """
    pairs = list_pairs(benchmark.people, max_impostors=max_impostors, seed=settings.seed)
    pooled = PooledTemplates(np.asarray(benchmark.features, np.float64), np.arange(len(benchmark.people)))
    scores = score_pairs(pooled, pairs.positions)
    _, numbers = np.unique(benchmark.people, return_inverse=True)
    chosen = balanced_folds(pairs.is_same, num_accuracy_pairs, settings.seed)
    measures: tuple[Measure, ...] = ()
    if len(chosen) >= 2 * NUM_FOLDS:
        verified = verify_distances(2 - 2 * scores[chosen], pairs.is_same[chosen], num_folds=NUM_FOLDS)
        measures = accuracy_measures(
            verified, num_bootstraps=settings.num_bootstraps if settings.detailed else 0, seed=settings.seed
        )
    result = pair_result(
        PairScores(scores, pairs.is_same, numbers[pairs.positions].astype(np.int32)),
        settings,
        protocol=protocol,
        name=name,
        mode=mode,
        images=PairImages(benchmark.first_image[pairs.positions], benchmark.names, benchmark.source),
        measures=measures,
        num_hardest=num_hardest,
        counts={
            "subjects": int(numbers.max()) + 1,
            "templates": len(numbers),
            "images": len(benchmark.names),
            "accuracy_pairs": len(chosen),
        },
        samples_hash=hash_samples(pairs.positions, pairs.is_same, names=[benchmark.source.fingerprint()])
        if settings.detailed
        else "",
    )
    firsts = [benchmark.names[place] for place in benchmark.first_image.tolist()]
    notes = one_picture_notes(scores, pairs, firsts)
    result = dataclasses.replace(result, warnings=(*notes, *result.warnings))
    if not measures:
        few = too_few_pairs(len(chosen), 2 * NUM_FOLDS)
        return dataclasses.replace(result, warnings=(few, *result.warnings))
    if len(chosen) == len(scores):
        return result
    said = (
        f"accuracy, AUC and EER are of {len(chosen):,} of the {len(scores):,} pairs: as many genuine as impostor ones,"
        f" drawn by seed {settings.seed}; TAR is of all"
    )
    return dataclasses.replace(result, warnings=(said, *result.warnings))
