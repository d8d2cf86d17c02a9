"""Pair sets (LFW, AgeDB-30, CFP-FP, CALFW, CPLFW): ten-fold accuracy, AUC, EER and TAR, with intervals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from transface.data.benchmarks.pairs import PairSet, read_pair_set
from transface.evaluation.embedding.embedder import Embedder, FaceEmbeddings
from transface.evaluation.protocol import check_settings, require_distinct_sets
from transface.evaluation.recognition.pair_results import (
    IntervalSettings,
    PairImages,
    PairScores,
    pair_result,
    require_both_classes,
)
from transface.evaluation.results import Measure, Result, hash_samples
from transface.images.decoding import ImageError
from transface.images.fit import Fit, check_fit
from transface.images.sources import EncodedImages, FaceSource
from transface.metrics.confidence import accuracy_interval
from transface.metrics.verification import PairVerification, PairVerificationResult, fold_of_each_pair, pair_distances

PAIR_FARS = (1e-3, 1e-2)


class PairSets:
    """The protocol `pair_sets`: every .bin file is one set.

    Args:
        files: the .bin files.
        flip: add the mirrored image's embedding (the published way).
        fit: what to do with images of another size than the backbone takes; see `images.fit`. center_crop of 112x112
            faces for a 112x96 model is their middle columns.
        num_folds: of the accuracy.
        fars: false accept rates at which the TAR is told.
        num_bootstraps: replicates of the intervals; 0: no intervals.
        seed: of the bootstrap.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if two files have one name, or a setting cannot be.
    """

    def __init__(
        self,
        files: Sequence[str | Path] = (),
        *,
        flip: bool = True,
        fit: Fit = "refuse",
        num_folds: int = 10,
        fars: Sequence[float] = PAIR_FARS,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_settings(fars=fars, num_bootstraps=num_bootstraps)
        if num_folds < 2:
            raise ValueError(f"num_folds must be at least 2, got {num_folds}")
        self.files = [Path(file) for file in files]
        self.names = [file.stem for file in self.files]
        require_distinct_sets(self.names)
        if any(file.parts[:1] == ("None",) for file in self.files):
            raise ValueError(
                "protocol.files are looked for in data.root, and data.sources has none: give"
                " protocol.files=[a.bin,b.bin] (or [])"
            )
        missing = [str(file) for file in self.files if not file.is_file()]
        if missing:
            raise FileNotFoundError(f"no pair set {', '.join(missing)}: protocol.files names .bin files")
        self.flip, self.num_folds, self.fars, self.num_bootstraps, self.seed = (
            flip,
            num_folds,
            tuple(fars),
            num_bootstraps,
            seed,
        )
        self.fit = check_fit(fit)
        self._sets: list[PairSet] | None = None

    def prepare(self) -> None:
        """Read the sets: their encoded images stay in memory.

        Raises:
            ValueError: if one is no pair set, holds one class only, or fewer pairs than folds.
        """
        for pair_set in self._read():
            if len(pair_set.is_same) < self.num_folds:
                raise ValueError(
                    f"{pair_set.name} has {len(pair_set.is_same)} pairs for {self.num_folds} folds: set"
                    f" protocol.num_folds to at most {len(pair_set.is_same)}, or leave the set out"
                )

    def check_images(self, size: tuple[int, int]) -> None:
        """Hold the headers of all images against the size (H, W) that a network takes.

        Raises:
            ValueError: naming the first that is no image, or does not fit.
        """
        for pair_set in self._read():
            check_fitted(EncodedImages(pair_set.name, pair_set.images, fit=self.fit), size)

    def _read(self) -> list[PairSet]:
        if not self.files:
            raise ValueError("no pair sets to evaluate: give protocol.files=[lfw.bin,...]")
        if self._sets is None:
            self._sets = read_verification_sets(self.files)
        return self._sets

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result a file.

        Raises:
            ValueError: if there are no files, or one is not a pair set, or holds one class only.
        """
        settings = IntervalSettings(self.fars, self.num_bootstraps, self.seed, detailed)
        sets = self._read()
        return [
            evaluate_pair_set(
                embedder, pair_set, flip=self.flip, fit=self.fit, num_folds=self.num_folds, settings=settings
            )
            for pair_set in sets
        ]


def read_verification_sets(files: Sequence[Path]) -> list[PairSet]:
    """Return the pair sets of some files; raises ValueError if one is none, or holds one class only."""
    sets = [read_pair_set(file) for file in files]
    for pair_set in sets:
        require_both_classes(pair_set.is_same, f"the pairs of {pair_set.name}")
    return sets


def evaluate_pair_set(
    embedder: Embedder,
    pair_set: PairSet,
    *,
    flip: bool,
    num_folds: int,
    settings: IntervalSettings,
    fit: Fit = "refuse",
    protocol: str = "pair_sets",
) -> Result:
    """Return the Result of one pair set.

    Raises:
        ValueError: if it holds one class only, or an embedding is not finite.
    """
    source = EncodedImages(pair_set.name, pair_set.images, fit=fit)
    unit = embed_fitted(embedder, source).unit(flip=flip)
    try:
        distances = pair_distances(unit)
        metric = PairVerification(
            pair_set.is_same, num_folds=num_folds, sync_on_compute=False
        )  # every rank holds all rows by now
        metric.update(torch.from_numpy(unit), torch.arange(len(unit)))
        verified = metric.compute()
    except ValueError as error:
        raise ValueError(f"pair set {pair_set.name}: {error}") from error
    indices = np.arange(2 * len(distances)).reshape(-1, 2)
    return pair_result(
        PairScores(1 - distances / 2, pair_set.is_same),
        settings,
        protocol=protocol,
        name=pair_set.name,
        mode="F1" if flip else "F0",
        images=PairImages(indices, [str(i) for i in range(indices.size)], source),
        measures=accuracy_measures(
            verified, num_bootstraps=settings.num_bootstraps if settings.detailed else 0, seed=settings.seed
        ),
        counts={"folds": num_folds, "images": indices.size},
        samples_hash=hash_samples(pair_set.is_same, names=[source.fingerprint()]) if settings.detailed else "",
        arrays={"correct": verified.correct, "folds": fold_of_each_pair(len(distances), num_folds)},
    )


def check_fitted(source: Any, size: tuple[int, int]) -> None:
    """Hold the headers of a source's images against a size, where it can tell them; a misfit is refused with what to
    do.
    """
    check = getattr(source, "check_headers", None)
    if check is None:  # faces that a detector or points cut out have the size asked for
        return
    try:
        check(size)
    except ImageError as error:
        raise ValueError(str(error).replace("fit=", "protocol.fit=")) from error


def embed_fitted(embedder: Embedder, source: FaceSource) -> FaceEmbeddings:
    """Return the embeddings of a source; an image that does not fit is refused with what to do about it."""
    try:
        return embedder.embed(source)
    except ImageError as error:
        raise ValueError(str(error).replace("fit=", "protocol.fit=")) from error


def accuracy_measures(
    verified: PairVerificationResult, *, num_bootstraps: int, seed: int, subjects: NDArray[np.int32] | None = None
) -> tuple[Measure, ...]:
    """Return accuracy (with its spread over folds and interval), best accuracy, threshold, AUC and EER as measures."""
    folds = fold_of_each_pair(len(verified.correct), len(verified.fold_accuracies))
    mean, std = verified.accuracy_mean, verified.accuracy_std
    accuracy = Measure("accuracy", mean, std=std)
    if num_bootstraps:
        interval = accuracy_interval(
            verified.correct,
            folds,
            best_accuracy=verified.best_accuracy,
            subjects=subjects,
            num_bootstraps=num_bootstraps,
            seed=seed,
        )
        accuracy = Measure("accuracy", mean, interval.low, interval.high, std)
    return (
        accuracy,
        Measure("threshold_cosine", verified.threshold_cosine, unit="", better=None),
        Measure("best_accuracy", verified.best_accuracy),
        Measure("best_threshold_cosine", 1 - verified.best_threshold / 2, unit="", better=None),
        Measure("auc", verified.auc, unit="ratio"),
        Measure("eer", verified.eer, better="lower"),
    )
