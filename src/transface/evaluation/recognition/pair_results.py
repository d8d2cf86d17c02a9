"""Makes a Result of the scores of pairs: measures with intervals, ROC curve with its band, histogram, the hardest
pairs.

Shapes: P pairs; scores are cosines, higher is more alike.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.evaluation.results import HardPair, Measure, Result, RocCurve, ScoreHistogram
from transface.images.sources import FaceSource
from transface.metrics.confidence import impostor_warning, is_measured, rate_interval
from transface.metrics.tar_at_far import OperatingPoint, operating_points
from transface.metrics.tar_bootstrap import tar_standard_errors

NUM_CURVE_POINTS = 200
NUM_BAND_POINTS = 40
NUM_BINS = 100
NUM_HARDEST = 8

Scores = NDArray[np.floating[Any]]


class PairScores(NamedTuple):
    """Scores of pairs, and who is on them.

    Attributes:
        scores: (P,).
        is_same: (P,) bool.
        subjects: (P, 2) people, or None where they are not known; of a genuine pair both are the same number.
    """

    scores: Scores
    is_same: NDArray[np.bool_]
    subjects: NDArray[Any] | None = None

    @property
    def genuine(self) -> Scores:
        return self.scores[self.is_same]

    @property
    def impostor(self) -> Scores:
        return self.scores[~self.is_same]

    @property
    def counts(self) -> dict[str, int]:
        num_genuine = int(self.is_same.sum())
        return {"pairs": len(self.scores), "genuine": num_genuine, "impostor": len(self.scores) - num_genuine}

    def standard_errors(self, fars: Sequence[float], *, num_bootstraps: int, seed: int) -> NDArray[np.float64]:
        """Return the standard errors of the TAR at each FAR, people drawn where they are known, else pairs."""
        own = None if self.subjects is None else self.subjects[self.is_same, 0]
        others = None if self.subjects is None else self.subjects[~self.is_same]
        return tar_standard_errors(
            self.genuine,
            self.impostor,
            fars,
            genuine_subjects=own,
            impostor_subjects=others,
            num_bootstraps=num_bootstraps,
            seed=seed,
        )


class TarSummary(NamedTuple):
    """TAR at each FAR by both rules, as measures; the ROC curve with its band; warnings for the reader."""

    measures: tuple[Measure, ...]
    roc: RocCurve | None
    warnings: tuple[str, ...]


def tar_name(far: float, rule: str) -> str:
    """Return the name of a TAR among the measures of a result, its FAR with all its digits: 1e-04, 1.5e-03."""
    return f"tar@far={np.format_float_scientific(far, trim='-', exp_digits=2)}/{rule}"


def summarise_tar(
    pairs: PairScores, fars: Sequence[float], *, num_bootstraps: int, seed: int, detailed: bool = True
) -> TarSummary:
    """Return TAR by both rules with intervals (none if num_bootstraps is 0 or detailed is False, none at a FAR at which
    not one impostor is expected) and the ROC curve (if detailed).
    """
    genuine, impostor = pairs.genuine, pairs.impostor
    points = operating_points(genuine, impostor, fars)
    warnings = {far: impostor_warning(len(impostor), far) for far in fars}
    sentences = tuple(text for text in warnings.values() if text)
    if not detailed:
        return TarSummary(
            tuple(_tar_measure(p, None, len(genuine), warnings[p.target]) for p in points), None, sentences
        )
    grid = np.geomspace(min(1 / len(impostor), 0.1), max([*fars, 0.1]), NUM_BAND_POINTS)
    errors = pairs.standard_errors([*fars, *grid], num_bootstraps=num_bootstraps, seed=seed) if num_bootstraps else None
    of_far = {} if errors is None else dict(zip(fars, errors[: len(fars)].tolist(), strict=True))
    measured = {far: error for far, error in of_far.items() if is_measured(far, len(impostor))}
    measures = tuple(_tar_measure(p, measured.get(p.target), len(genuine), warnings[p.target]) for p in points)
    curve = roc_curve(genuine, impostor, band=None if errors is None else (grid, errors[len(fars) :]))
    return TarSummary(measures, curve, sentences)


def _tar_measure(point: OperatingPoint, error: float | None, num_genuine: int, warning: str) -> Measure:
    name = tar_name(point.target, point.rule)
    if error is None:
        return Measure(name, point.tar, warning=warning)
    interval = rate_interval(point.tar, error, num_trials=num_genuine)
    return Measure(name, point.tar, interval.low, interval.high, warning=warning)


def roc_curve(
    genuine: Scores, impostor: Scores, *, band: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
) -> RocCurve:
    """Return the ROC curve at about 200 false accept rates, evenly spread in their logarithm; `band` is (FARs, standard
    errors).
    """
    rising, same = np.sort(impostor), np.sort(genuine)
    total = len(rising)
    accepted = np.unique(np.concatenate([[0], np.geomspace(1, total, NUM_CURVE_POINTS).round().astype(int)]))
    refused = np.where(accepted < total, rising[np.maximum(total - 1 - accepted, 0)], min(rising[0], same[0]) - 1)
    # A threshold just above the first refused impostor; of tied impostors all are refused.
    tar = 1 - np.searchsorted(same, refused, side="right") / len(same)
    far = 1 - np.searchsorted(rising, refused, side="right") / total
    keep = np.append(np.diff(far) > 0, True) | (far == 0)
    threshold = np.nextafter(refused, np.array(np.inf, refused.dtype))
    low: list[float] = []
    high: list[float] = []
    if band is not None:
        errors = band_errors(far, tar, band, num_genuine=len(same), num_impostors=total)
        intervals = [
            rate_interval(float(t), float(e), num_trials=len(same))
            for t, e in zip(tar[keep], errors[keep], strict=True)
        ]
        low, high = [i.low for i in intervals], [i.high for i in intervals]
    return RocCurve(far[keep].tolist(), tar[keep].tolist(), threshold[keep].tolist(), low, high)


def band_errors(
    far: NDArray[np.float64],
    tar: NDArray[np.float64],
    band: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    num_genuine: int,
    num_impostors: int,
) -> NDArray[np.float64]:
    """Return the standard errors of the TAR at the points of a curve, between and beyond those of the band (FARs,
    standard errors).

    What is interpolated, and held beyond the ends, is how many times the binomial error they are: it is the TAR that
    makes them shrink towards 1, not the FAR.
    """

    def binomial(rates: NDArray[np.float64]) -> NDArray[np.float64]:
        inner = np.clip(rates, 0.5 / num_genuine, 1 - 0.5 / num_genuine)
        return np.sqrt(inner * (1 - inner) / num_genuine)

    places, known = np.log(np.maximum(far, 0.5 / num_impostors)), np.log(band[0])
    times = band[1] / binomial(np.interp(known, places, tar))
    return np.interp(places, known, times) * binomial(tar)


def histogram(pairs: PairScores) -> ScoreHistogram:
    """Return counts of genuine and impostor scores in 100 equal bins from the lowest to the highest score."""
    low, high = float(pairs.scores.min()), float(pairs.scores.max())
    edges = np.linspace(low, high if high > low else low + 1e-6, NUM_BINS + 1)
    genuine, impostor = (np.histogram(scores, edges)[0] for scores in (pairs.genuine, pairs.impostor))
    return ScoreHistogram(edges.tolist(), genuine.tolist(), impostor.tolist())


class Hardest(NamedTuple):
    """The pairs that a model gets most wrong, and their thumbnails by name."""

    genuine: tuple[HardPair, ...]
    impostor: tuple[HardPair, ...]
    thumbnails: dict[str, NDArray[np.uint8]]


def hardest_pairs(
    pairs: PairScores,
    images: NDArray[np.int64],
    names: Sequence[str],
    *,
    source: FaceSource | None = None,
    limit: int = NUM_HARDEST,
) -> Hardest:
    """Return the genuine pairs of the lowest and the impostor pairs of the highest scores.

    Args:
        pairs: all pairs.
        images: (P, 2) which image stands for each side.
        names: of the images.
        source: where thumbnails are read from; None: no thumbnails.
        limit: pairs of each kind.
    """
    thumbnails: dict[str, NDArray[np.uint8]] = {}
    lists: list[tuple[HardPair, ...]] = []
    for kind, sign in ((True, 1), (False, -1)):
        places = np.flatnonzero(pairs.is_same == kind)
        ranked = _lowest(sign * pairs.scores[places], limit)
        lists.append(tuple(_hard_pair(int(places[i]), pairs, images, names, source, thumbnails) for i in ranked))
    return Hardest(lists[0], lists[1], thumbnails)


def _lowest(values: Scores, limit: int) -> NDArray[np.int64]:
    few = np.argpartition(values, min(limit, len(values)) - 1)[:limit] if len(values) else np.zeros(0, np.int64)
    return few[np.argsort(values[few], kind="stable")].astype(np.int64)


def _hard_pair(
    pair: int,
    pairs: PairScores,
    images: NDArray[np.int64],
    names: Sequence[str],
    source: FaceSource | None,
    thumbnails: dict[str, NDArray[np.uint8]],
) -> HardPair:
    keys = []
    for image in images[pair].tolist() if source is not None else ():
        assert source is not None
        keys.append(f"thumbnail_{image}")
        thumbnails[keys[-1]] = np.frombuffer(source.thumbnail(image), np.uint8)
    return HardPair(pair, float(pairs.scores[pair]), [str(names[image]) for image in images[pair]], keys)


class PairImages(NamedTuple):
    """What stands for the two sides of each pair: `indices` (P, 2) into `names` and into the `source` of thumbnails
    (None: none).
    """

    indices: NDArray[np.int64]
    names: Sequence[str]
    source: FaceSource | None


def require_both_classes(is_same: NDArray[np.bool_], where: str) -> None:
    """Raise ValueError if all pairs are of one class: asked before anything is embedded."""
    num_genuine = int(is_same.sum())
    if num_genuine in (0, len(is_same)):
        raise ValueError(
            f"{where} are of one class only, {num_genuine} genuine of {len(is_same)}: verification needs both classes"
        )


class IntervalSettings(NamedTuple):
    """How intervals are made: `fars` at which the TAR is told, bootstrap replicates (0: none), seed; `detailed` False:
    numbers alone.
    """

    fars: tuple[float, ...]
    num_bootstraps: int
    seed: int
    detailed: bool


def pair_result(
    pairs: PairScores,
    settings: IntervalSettings,
    *,
    protocol: str,
    name: str,
    mode: str,
    images: PairImages,
    measures: tuple[Measure, ...] = (),
    counts: dict[str, int] | None = None,
    samples_hash: str = "",
    arrays: dict[str, NDArray[Any]] | None = None,
    num_hardest: int = NUM_HARDEST,
) -> Result:
    """Return the Result of some pairs: `measures` first, then TAR; curve, histogram, hardest pairs and arrays where it
    is detailed.
    """
    tar = summarise_tar(
        pairs, settings.fars, num_bootstraps=settings.num_bootstraps, seed=settings.seed, detailed=settings.detailed
    )
    base = Result(
        protocol=protocol,
        name=name,
        mode=mode,
        measures=(*measures, *tar.measures),
        counts={**pairs.counts, **(counts or {})},
        warnings=tar.warnings,
    )
    if not settings.detailed:
        return base
    hardest = hardest_pairs(pairs, images.indices, images.names, source=images.source, limit=num_hardest)
    kept: dict[str, NDArray[Any]] = {"scores": pairs.scores, "is_same": pairs.is_same}
    if pairs.subjects is not None:
        kept["subjects"] = pairs.subjects
    return dataclasses.replace(
        base,
        roc=tar.roc,
        histogram=histogram(pairs),
        hardest_genuine=hardest.genuine,
        hardest_impostor=hardest.impostor,
        samples_hash=samples_hash,
        arrays={**kept, **(arrays or {}), **hardest.thumbnails},
    )
