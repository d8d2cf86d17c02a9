"""The protocol `error_discard`: what remains of the false non-matches when pairs of low quality are left out.

Error versus discard (EDC, also ERC). The threshold is set once, at a false match rate of the same set, and stays for
the whole curve. Shapes: M images, P pairs, G genuine pairs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from transface.data.benchmarks.pairs import read_pair_set
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.embedding.token_rater import rating_tokens
from transface.evaluation.protocol import check_settings, require_distinct_sets
from transface.evaluation.recognition.all_pairs import PairList, list_pairs, one_picture_notes
from transface.evaluation.recognition.own_lists import Finding, list_people
from transface.evaluation.recognition.pair_results import require_both_classes
from transface.evaluation.recognition.template_pooling import PooledTemplates, score_pairs
from transface.evaluation.results import Curve, Measure, Result, hash_samples
from transface.images.detection import Policy
from transface.images.detectors.locating import Missing
from transface.images.fit import Fit, check_fit
from transface.images.sources import EncodedImages, FaceSource
from transface.metrics.confidence import is_measured
from transface.metrics.error_discard import (
    FEWEST_LEFT,
    ErrorDiscardCurve,
    area_intervals,
    error_discard_curve,
    pair_quality,
    threshold_at_false_match_rate,
)

NUM_POINTS = 200  # of a curve in a result
LIMITS = (0.1, 0.2, 0.3)
FEWEST_FALSE_MATCHES = 30
CURVE = "Error versus discard"


class RatedPairs(NamedTuple):
    """The set: pairs (P, 2) of its images, whether both are one person (P,), who that is (P,), its images, and their
    names where they are files.
    """

    positions: NDArray[np.int64]
    is_same: NDArray[np.bool_]
    people: NDArray[np.int64]
    source: FaceSource
    names: Sequence[str] = ()


class ErrorDiscard:
    """Error versus discard of pair sets (.bin files), or of a folder with one folder a person.

    Args:
        files: the .bin files.
        root: a folder of people instead; all their pairs.
        quality: "tokens" of a vision transformer, or the "norm" of the embedding; a pair's is the lower of its images'.
        fmr: the false match rate, of this set's impostors, at which the threshold is set.
        limits: shares of pairs left out up to which the area is told.
        fit, detector, faces, missing: as of the protocol `folder`.
        flip: add the mirrored image's embedding to the scores.
        max_impostors: of a folder.
        num_bootstraps: replicates of the intervals, over people where they are known, else over pairs; 0: none.
        seed: of draws and bootstrap.
    """

    def __init__(
        self,
        files: Sequence[str | Path] = (),
        *,
        root: str | Path | None = None,
        quality: Literal["tokens", "norm"] = "tokens",
        fmr: float = 1e-3,
        limits: Sequence[float] = LIMITS,
        fit: Fit = "refuse",
        detector: str | None = None,
        faces: Policy = "largest",
        missing: Missing = "refuse",
        flip: bool = True,
        max_impostors: int = 10_000_000,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_settings(fars=[fmr], num_bootstraps=num_bootstraps, max_impostors=max_impostors)
        if quality not in ("tokens", "norm"):
            raise ValueError(f"quality must be tokens or norm, got {quality!r}")
        if not limits or not all(0 < limit <= 1 for limit in limits):
            raise ValueError(f"limits must be shares in (0, 1], got {list(limits)}")
        if bool(files) == (root is not None):
            raise ValueError("give protocol.files=[a.bin,...] or protocol.root=FOLDER with one folder a person")
        missing_files = [str(file) for file in files if not Path(file).is_file()]
        if missing_files:
            raise FileNotFoundError(f"no pair set {', '.join(missing_files)}: protocol.files names .bin files")
        self.files = [Path(file) for file in files]
        self.root = None if root is None else Path(root)
        self.quality, self.fmr, self.limits = quality, fmr, tuple(limits)
        self.fit, self.finding = check_fit(fit), Finding(detector, faces, missing)
        self.flip, self.max_impostors = flip, max_impostors
        self.num_bootstraps, self.seed = num_bootstraps, seed
        self.names = [file.stem for file in self.files] if self.root is None else [self.root.resolve().name]
        require_distinct_sets(self.names)

    def prepare(self) -> None:
        """Read the sets."""
        self._sets()

    def _sets(self) -> list[RatedPairs]:
        if self.root is not None:
            names, people, source = list_people(self.root, name=self.names[0], fit=self.fit, finding=self.finding)
            numbers = np.unique(people, return_inverse=True)[1]
            pairs = list_pairs(people, max_impostors=self.max_impostors, seed=self.seed)
            return [RatedPairs(pairs.positions, pairs.is_same, numbers[pairs.positions[:, 0]], source, names)]
        found = []
        for file in self.files:
            pair_set = read_pair_set(file)
            require_both_classes(pair_set.is_same, f"the pairs of {pair_set.name}")
            count = len(pair_set.is_same)
            source = EncodedImages(pair_set.name, pair_set.images, fit=self.fit)
            positions = np.arange(2 * count).reshape(-1, 2)
            found.append(RatedPairs(positions, np.asarray(pair_set.is_same, bool), np.arange(count), source))
        return found

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result a set.

        Raises:
            ValueError: for "tokens" of a backbone that is no vision transformer, or a set of too few genuine pairs.
        """
        return [
            self._evaluate(rated, name, embedder, detailed=detailed)
            for rated, name in zip(self._sets(), self.names, strict=True)
        ]

    def _evaluate(self, rated: RatedPairs, name: str, embedder: Embedder, *, detailed: bool) -> Result:
        unit, quality = rate_and_embed(embedder, rated.source, kind=self.quality, flip=self.flip)
        pooled = PooledTemplates(np.asarray(unit, np.float64), np.arange(len(unit)))
        scores = score_pairs(pooled, rated.positions)
        threshold = threshold_at_false_match_rate(scores[~rated.is_same].astype(np.float64), self.fmr)
        genuine = np.flatnonzero(rated.is_same)
        errors = scores[genuine] < threshold
        own = pair_quality(quality[rated.positions[genuine]])
        people = rated.people[genuine]
        num_impostors = int((~rated.is_same).sum())
        few = self.fmr * num_impostors < FEWEST_FALSE_MATCHES
        warning = f"fewer than {FEWEST_FALSE_MATCHES} false matches stand behind the threshold" if few else ""
        # A threshold beyond all that was measured says nothing of how far errors may move with it.
        num_bootstraps = self.num_bootstraps if detailed and is_measured(self.fmr, num_impostors) else 0
        measures = [Measure("fnmr", float(errors.mean()), better="lower", warning=warning)]
        for limit in self.limits:
            area = area_intervals(
                errors,
                own,
                people,
                limit=limit,
                num_bootstraps=num_bootstraps,
                seed=self.seed,
            )
            if np.isfinite(area.value):
                low, high = (area.low, area.high) if np.isfinite(area.low) else (None, None)
                measures.append(
                    Measure(f"area_to_{limit:g}_discarded", area.value, low, high, unit="ratio", better="lower")
                )
        measures.append(Measure("threshold_cosine", float(threshold), unit="", better=None))
        sentences = (warning,) if warning else ()
        if not errors.any():
            sentences = (*sentences, "no genuine pair lies below the threshold: there is nothing to discard for")
        if rated.names:
            pairs = PairList(rated.positions, rated.is_same)
            sentences = (*one_picture_notes(scores, pairs, rated.names), *sentences)
        curve = error_discard_curve(errors, own, fewest_left=FEWEST_LEFT)
        return Result(
            "error_discard",
            name,
            f"{self.quality}{'F1' if self.flip else 'F0'}",
            tuple(measures),
            counts={"pairs": len(scores), "genuine": len(genuine), "impostor": num_impostors},
            warnings=sentences,
            curves={CURVE: thinned(curve, self.fmr)} if detailed and len(curve.discarded) else {},
            samples_hash=hash_samples(rated.positions, rated.is_same, names=[rated.source.fingerprint()])
            if detailed
            else "",
            arrays={"errors": errors, "quality": own, "subjects": people} if detailed else {},
        )


def rate_and_embed(
    embedder: Embedder, source: FaceSource, *, kind: str, flip: bool
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return unit vectors (M, E) and qualities (M,) of the images of a source."""
    if kind == "norm":
        found = embedder.embed(source)
        return found.unit(flip=flip), np.linalg.norm(found.original, axis=1).astype(np.float64)
    with rating_tokens(embedder.backbone) as passes:
        # In memory: a kept embedding would leave nothing to rate.
        found = embedder.embed_anew(source)
    # Every batch passes as it is, then mirrored.
    return found.unit(flip=flip), torch.cat(passes[::2]).double().numpy()


def thinned(curve: ErrorDiscardCurve, fmr: float) -> Curve:
    """Return the curve at no more than some 200 of its steps, for a result."""
    places = np.unique(np.linspace(0, len(curve.discarded) - 1, NUM_POINTS).round().astype(int))
    return Curve(
        curve.discarded[places].tolist(),
        curve.error[places].tolist(),
        "pairs left out, lowest quality first (share)",
        f"FNMR of the pairs left, threshold at FMR {fmr:g}",
    )
