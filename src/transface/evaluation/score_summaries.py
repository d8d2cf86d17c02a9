"""What a result file keeps of the scores of pairs: a thinned ROC curve with its band, a histogram, the hardest pairs.

Shapes: P pairs, G of them genuine.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_curve

from transface.evaluation.results import HardPair, RocCurve, ScoreHistogram

CURVE_POINTS = 300
HISTOGRAM_BINS = 60


def thinned_roc(scores: NDArray[np.floating], is_same: NDArray[np.bool_], *, level: float = 0.95) -> RocCurve:
    """Return the ROC curve of scores (P,), thinned, with Wilson's band of the TAR over the genuine pairs."""
    far, tar, thresholds = roc_curve(is_same, scores, drop_intermediate=True)
    chosen = np.unique(np.linspace(0, len(far) - 1, min(CURVE_POINTS, len(far))).round().astype(int))
    far, tar, thresholds = far[chosen], tar[chosen], np.minimum(thresholds[chosen], float(np.max(scores)) + 1e-6)
    low, high = wilson(tar, int(np.sum(is_same)), level=level)
    return RocCurve(far.tolist(), tar.tolist(), thresholds.tolist(), low.tolist(), high.tolist())


def wilson(rates: NDArray[np.floating], num_trials: int, *, level: float = 0.95) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the ends of Wilson's interval of rates among `num_trials` independent trials."""
    z = float(stats.norm.isf((1 - level) / 2))
    shrink = 1 + z * z / num_trials
    centre = (rates + z * z / (2 * num_trials)) / shrink
    half = z * np.sqrt(rates * (1 - rates) / num_trials + (z / (2 * num_trials)) ** 2) / shrink
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def score_histogram(scores: NDArray[np.floating], is_same: NDArray[np.bool_]) -> ScoreHistogram:
    """Return counts of genuine and impostor scores over common bins."""
    low, high = float(np.min(scores)), float(np.max(scores))
    edges = np.linspace(low, high if high > low else low + 1e-6, HISTOGRAM_BINS + 1)
    genuine, impostor = (np.histogram(scores[side], edges)[0].tolist() for side in (is_same, ~is_same))
    return ScoreHistogram(edges.tolist(), genuine, impostor)


def hardest_pairs(
    scores: NDArray[np.floating], is_same: NDArray[np.bool_], *, genuine: bool, count: int, names: Callable[[int], Sequence[str]]
) -> tuple[HardPair, ...]:
    """Return the genuine pairs of the lowest or the impostor pairs of the highest score, the worst first."""
    places = np.flatnonzero(is_same if genuine else ~is_same)
    order = np.argsort(scores[places] if genuine else -scores[places], kind="stable")[:count]
    return tuple(HardPair(int(place), float(scores[place]), list(names(int(place)))) for place in places[order])
