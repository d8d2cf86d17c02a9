"""Verification of pair sets (LFW, AgeDB-30, CFP-FP, CALFW, CPLFW, ...): ten-fold accuracy with its interval, AUC, EER, thresholds.

Shapes: N pairs, interleaved in 2N images; E embedding size.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.data.pairs import PairSet, read_pair_set
from transface.evaluation.embed import Embedder
from transface.evaluation.face_sources import EncodedFaces
from transface.evaluation.results import HardPair, Measure, Provenance, Result, hash_pairs, package_versions, utc_now
from transface.evaluation.score_summaries import hardest_pairs, score_histogram, thinned_roc
from transface.metrics.confidence import accuracy_interval
from transface.metrics.verification import fold_of_each_pair, verify_pairs


class PairSets:
    """The protocol of one or more .bin files.

    Args:
        files: paths of pair sets; none means nothing to do.
        num_folds: 10 by custom.
        flip: add the mirrored face's embedding, as published figures do.
        num_hardest: pairs of each kind kept with their pictures.
        seed: of the bootstrap.
    """

    def __init__(self, files: Sequence[str | Path], *, num_folds: int = 10, flip: bool = True, num_hardest: int = 8, seed: int = 0) -> None:
        self.files = [Path(file) for file in files]
        self.num_folds, self.flip, self.num_hardest, self.seed = num_folds, flip, num_hardest, seed
        missing = [str(file) for file in self.files if not file.is_file()]
        if missing:
            raise FileNotFoundError(f"no pair set {', '.join(missing)}: protocol.files names .bin files")
        self._read: dict[Path, PairSet] = {}

    def evaluate(self, embedder: Embedder) -> list[Result]:
        """Return one result a file; the files are read once and kept as encoded bytes."""
        return [self.evaluate_set(self._pair_set(file), embedder) for file in self.files]

    def _pair_set(self, file: Path) -> PairSet:
        if file not in self._read:
            self._read[file] = read_pair_set(file)
        return self._read[file]

    def evaluate_set(self, pairs: PairSet, embedder: Embedder) -> Result:
        """Return the result of one pair set."""
        started = time.monotonic()
        unit = embedder.embed(EncodedFaces(pairs.name, pairs.images)).unit(flip=self.flip)
        try:
            result = summarise(pairs, unit, num_folds=self.num_folds, num_hardest=self.num_hardest, seed=self.seed)
        except ValueError as error:
            raise ValueError(f"pair set {pairs.name}: {error}") from error
        provenance = Provenance(
            checkpoint_hash=embedder.checkpoint_hash,
            versions=package_versions(),
            device=str(embedder.device),
            seconds=time.monotonic() - started,
            created=utc_now(),
            seed=self.seed,
        )
        return dataclasses.replace(result, mode="F1" if self.flip else "F0", provenance=provenance)


def summarise(pairs: PairSet, unit: NDArray[np.float32], *, num_folds: int = 10, num_hardest: int = 8, seed: int = 0) -> Result:
    """Return the result of a pair set whose unit embeddings (2N, E) are given."""
    is_same = np.asarray(pairs.is_same, bool)
    verified = verify_pairs(unit, is_same, num_folds=num_folds)
    folds = fold_of_each_pair(len(is_same), num_folds)
    interval = accuracy_interval(verified.correct, folds, seed=seed)
    scores = np.einsum("ne,ne->n", unit[0::2], unit[1::2], dtype=np.float64)
    arrays: dict[str, NDArray[Any]] = {"scores": scores, "is_same": is_same, "correct": verified.correct, "folds": folds}
    hard = {
        genuine: with_pictures(
            hardest_pairs(scores, is_same, genuine=genuine, count=num_hardest, names=lambda pair: (str(2 * pair), str(2 * pair + 1))), pairs, arrays
        )
        for genuine in (True, False)
    }
    return Result(
        protocol="pair_sets",
        name=pairs.name,
        mode="F1",
        measures=(
            Measure("accuracy", verified.accuracy_mean, interval.low, interval.high, verified.accuracy_std),
            Measure("auc", verified.auc),
            Measure("eer", verified.eer),
            Measure("threshold_distance", float(np.mean(verified.thresholds))),
            Measure("threshold_cosine", verified.threshold_cosine),
            Measure("best_accuracy", verified.best_accuracy),
            Measure("best_threshold_distance", verified.best_threshold),
        ),
        counts={
            "pairs": len(is_same),
            "genuine": int(is_same.sum()),
            "impostor": int((~is_same).sum()),
            "folds": num_folds,
            "images": len(pairs.images),
        },
        roc=thinned_roc(scores, is_same),
        histogram=score_histogram(scores, is_same),
        hardest_genuine=hard[True],
        hardest_impostor=hard[False],
        pairs_hash=hash_pairs(is_same, names=[pairs.name]),
        arrays=arrays,
    )


def with_pictures(hard: tuple[HardPair, ...], pairs: PairSet, arrays: dict[str, NDArray[Any]]) -> tuple[HardPair, ...]:
    """Return the hard pairs with their two images put among the arrays as encoded bytes."""
    kept = []
    for pair in hard:
        keys = []
        for image in (2 * pair.pair, 2 * pair.pair + 1):
            key = f"thumbnail_{image}"
            arrays[key] = np.frombuffer(bytes(pairs.images[image]), np.uint8)
            keys.append(key)
        kept.append(dataclasses.replace(pair, thumbnails=keys))
    return tuple(kept)
