"""Ten-fold verification of face pairs: accuracy as the published tables report it, exact best threshold, AUC, EER.

Protocol: the folds are contiguous in file order; nine folds choose the threshold out of 0, .01 .. 3.99 on the squared
distance (the first best one wins), the tenth is scored; "same" is distance < threshold. Specification:
docs/evaluation.md.
Shapes: N pairs, interleaved in 2N embeddings (pair i is rows 2i and 2i + 1), D embedding size, F folds, T = 400
thresholds.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import Metric

THRESHOLDS: NDArray[np.float64] = np.arange(0, 4, 0.01)
UNIT_NORM_TOLERANCE = 1e-3
PAIR_BLOCK = 128

FloatArray = NDArray[np.floating[Any]]


class PairVerificationResult(NamedTuple):
    """What ten-fold verification says about a pair set. Distances are squared Euclidean, of unit embeddings: 2 - 2 cos.

    Attributes:
        accuracy_mean: mean of the fold accuracies, in [0, 1].
        accuracy_std: their population standard deviation.
        fold_accuracies: (F,).
        thresholds: (F,) the distance chosen for each fold on the others.
        threshold_cosine: the mean chosen threshold as a cosine.
        best_accuracy: the highest accuracy any single threshold reaches on all pairs (optimistic: chosen on what it is
            scored on).
        best_threshold: the distance that reaches it, halfway between its two neighbours.
        auc: area under the ROC curve, ties counted half.
        eer: equal error rate, linear between ROC points.
        tpr: (T,) true positive rate at each of THRESHOLDS, mean over folds.
        fpr: (T,) false positive rate, likewise.
        correct: (N,) whether each pair was decided rightly with its fold's threshold.
    """

    accuracy_mean: float
    accuracy_std: float
    fold_accuracies: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    threshold_cosine: float
    best_accuracy: float
    best_threshold: float
    auc: float
    eer: float
    tpr: NDArray[np.float64]
    fpr: NDArray[np.float64]
    correct: NDArray[np.bool_]


class _FoldCounts(NamedTuple):
    """Cumulated decisions: `same[f, t]` of the `num_same[f]` genuine pairs of fold f have distance < threshold t;
    `different` likewise.
    """

    same: NDArray[np.int64]
    different: NDArray[np.int64]
    num_same: NDArray[np.int64]
    num_different: NDArray[np.int64]


def pair_distances(embeddings: ArrayLike | Tensor) -> FloatArray:
    """Return the (N,) squared distances between rows 2i and 2i + 1 of the (2N, D) embeddings, in their own float
    precision.

    Rows are taken as they are if all have unit norm (within 1e-3); otherwise all rows are normalised first.

    Raises:
        ValueError: if the array is not (2N, D), or holds a NaN, an infinity or a zero row.
    """
    rows = _as_float_rows(embeddings)
    norms, distances = _norms_and_distances(rows)
    if not np.isfinite(norms).all():
        raise ValueError(f"embeddings hold NaN or infinity in {int((~np.isfinite(norms)).sum())} of {len(rows)} rows")
    if (norms == 0).any():
        raise ValueError(f"{int((norms == 0).sum())} of {len(rows)} embeddings are all zero and have no direction")
    if np.abs(norms - 1).max() > UNIT_NORM_TOLERANCE:
        distances = _norms_and_distances(rows / np.linalg.norm(rows, axis=1, keepdims=True)).distances
    return distances


class _NormsAndDistances(NamedTuple):
    norms: FloatArray
    distances: FloatArray


@np.errstate(invalid="ignore", over="ignore")
def _norms_and_distances(rows: FloatArray) -> _NormsAndDistances:
    """Norms (2N,) of the rows and squared distances (N,) of their pairs, block by block: a block stays in the cache."""
    squared, distances = np.empty(len(rows), rows.dtype), np.empty(len(rows) // 2, rows.dtype)
    buffer = np.empty((PAIR_BLOCK, rows.shape[1]), rows.dtype)
    for start in range(0, len(distances), PAIR_BLOCK):
        block = rows[2 * start : 2 * (start + PAIR_BLOCK)]
        np.einsum("ij,ij->i", block, block, out=squared[2 * start : 2 * (start + PAIR_BLOCK)])
        # The published scripts' subtraction, square and sum, so that a pair on a threshold falls on the same side of
        # it.
        gaps = np.subtract(block[0::2], block[1::2], out=buffer[: len(block) // 2])
        np.sum(np.square(gaps, out=gaps), axis=1, out=distances[start : start + PAIR_BLOCK])
    return _NormsAndDistances(np.sqrt(squared), distances)


def fold_of_each_pair(num_pairs: int, num_folds: int = 10) -> NDArray[np.int64]:
    """Return (N,) fold numbers: contiguous folds in order, the first N % F of them one pair longer (scikit-learn's
    unshuffled KFold).

    Raises:
        ValueError: if there are fewer than two folds or fewer pairs than folds.
    """
    if not 2 <= num_folds <= num_pairs:
        raise ValueError(f"num_folds must be in 2..{num_pairs} (the number of pairs), got {num_folds}")
    sizes = np.full(num_folds, num_pairs // num_folds)
    sizes[: num_pairs % num_folds] += 1
    return np.repeat(np.arange(num_folds), sizes)


def fold_accuracies(
    embeddings: ArrayLike | Tensor, is_same: ArrayLike | Tensor, *, num_folds: int = 10
) -> NDArray[np.float64]:
    """Return the accuracy of each fold, (F,) float64, at the threshold the other folds choose.

    `embeddings` (2N, D) NumPy or torch, pairs interleaved, of unit norm (normalised here if they are not); `is_same`
    (N,).

    Raises:
        ValueError: if the shapes do not fit, a value is not finite, or all pairs are of one class.

    Example:
        >>> faces = torch.nn.functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)))
        >>> fold_accuracies(faces, [True, False] * 10, num_folds=5).shape
        (5,)
    """
    return verify_pairs(embeddings, is_same, num_folds=num_folds).fold_accuracies


def verify_pairs(
    embeddings: ArrayLike | Tensor, is_same: ArrayLike | Tensor, *, num_folds: int = 10
) -> PairVerificationResult:
    """Return all figures of the ten-fold protocol for (2N, D) embeddings; arguments and errors as in
    `fold_accuracies`.
    """
    return verify_distances(pair_distances(embeddings), is_same, num_folds=num_folds)


def verify_distances(
    distances: FloatArray, is_same: ArrayLike | Tensor, *, num_folds: int = 10
) -> PairVerificationResult:
    """Return all figures of the ten-fold protocol for (N,) squared distances.

    Raises:
        ValueError: if the lengths differ, a distance is NaN, or all pairs are of one class.
    """
    same = _as_labels(is_same, len(distances))
    if np.isnan(distances).any():
        raise ValueError(f"{int(np.isnan(distances).sum())} of {len(distances)} distances are NaN")
    folds = fold_of_each_pair(len(distances), num_folds)
    # First threshold t with distance < t; the comparison happens in float64, as NumPy compares float32 with a float64
    # number.
    first_accepting = np.searchsorted(THRESHOLDS, distances.astype(np.float64), side="right")
    counts = _fold_counts(first_accepting, same, folds, num_folds)
    chosen = _chosen_thresholds(counts)
    correct = (first_accepting <= chosen[folds]) == same
    accuracies = np.bincount(folds, weights=correct, minlength=num_folds) / np.bincount(folds, minlength=num_folds)
    exact = _exact_curve(distances, same)
    thresholds = THRESHOLDS[chosen]
    return PairVerificationResult(
        accuracy_mean=float(accuracies.mean()),
        accuracy_std=float(accuracies.std()),
        fold_accuracies=accuracies,
        thresholds=thresholds,
        threshold_cosine=float(1 - thresholds.mean() / 2),
        best_accuracy=exact.best_accuracy,
        best_threshold=exact.best_threshold,
        auc=exact.auc,
        eer=exact.eer,
        tpr=_mean_rate(counts.same, counts.num_same),
        fpr=_mean_rate(counts.different, counts.num_different),
        correct=correct,
    )


class PairVerification(Metric):
    """Ten-fold verification, gathered from all ranks: feed embeddings with their positions, in any order and with
    repeats.

    `update(embeddings (B, D), positions (B,))`: position p is row p of the 2N interleaved rows (pair p // 2). A
    position fed twice (a sampler's padding) counts once. `compute()` gives a PairVerificationResult on every rank.

    Args:
        is_same: (N,) labels of the pairs.
        num_folds: F.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    embeddings: list[Tensor]
    positions: list[Tensor]

    def __init__(self, is_same: ArrayLike | Tensor, *, num_folds: int = 10, **metric_arguments: Any) -> None:
        super().__init__(**metric_arguments)
        self.is_same = _as_labels(is_same)
        self.num_folds = num_folds
        self.add_state("embeddings", default=[], dist_reduce_fx="cat")
        self.add_state("positions", default=[], dist_reduce_fx="cat")

    def update(self, embeddings: Tensor, positions: Tensor) -> None:
        """Take a batch; raises ValueError if the two do not fit together."""
        if embeddings.ndim != 2 or positions.shape != embeddings.shape[:1]:
            raise ValueError(
                f"want embeddings (B, D) and positions (B,), got {tuple(embeddings.shape)} and {tuple(positions.shape)}"
            )
        self.embeddings.append(embeddings.detach().float())
        self.positions.append(positions)

    def compute(self) -> PairVerificationResult:
        """Return the result of all pairs; raises ValueError if some were never fed, or a position is that of none."""
        num_rows = 2 * len(self.is_same)
        if isinstance(self.embeddings, list) and not self.embeddings:
            raise ValueError(f"{num_rows} of {num_rows} images of the pair set were not embedded")
        rows = torch.cat(self.embeddings) if isinstance(self.embeddings, list) else self.embeddings
        positions = torch.cat(self.positions) if isinstance(self.positions, list) else self.positions
        if positions.numel() and not (positions.min() >= 0 and positions.max() < num_rows):
            raise ValueError(
                f"positions must be in 0..{num_rows - 1}, got {int(positions.min())}..{int(positions.max())}"
            )
        seen = torch.zeros(num_rows, dtype=torch.bool, device=positions.device)
        seen[positions] = True
        if not bool(seen.all()):
            raise ValueError(f"{int((~seen).sum())} of {num_rows} images of the pair set were not embedded")
        ordered = rows.new_empty(num_rows, rows.shape[1])
        ordered[positions] = rows
        return verify_pairs(ordered, self.is_same, num_folds=self.num_folds)


def _as_float_rows(embeddings: ArrayLike | Tensor) -> FloatArray:
    if isinstance(embeddings, Tensor):
        embeddings = (
            embeddings.detach().to(device="cpu", dtype=torch.promote_types(embeddings.dtype, torch.float32)).numpy()
        )
    rows = np.asarray(embeddings)
    if rows.ndim != 2 or len(rows) % 2 or len(rows) == 0:
        raise ValueError(f"embeddings must be (2N, D), pair i in rows 2i and 2i + 1, got {rows.shape}")
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float32)


def _as_labels(is_same: ArrayLike | Tensor, num_pairs: int | None = None) -> NDArray[np.bool_]:
    labels = np.asarray(is_same.detach().cpu().float() if isinstance(is_same, Tensor) else is_same)
    try:
        same = labels.astype(bool)
        odd = labels.astype(np.float64) != same
    except (TypeError, ValueError) as error:
        raise ValueError(f"is_same must hold True or False (1 or 0) for each pair, got {labels.dtype}") from error
    if odd.any():
        raise ValueError(f"is_same must hold True or False (1 or 0) for each pair, got e.g. {labels[odd][0]!s}")
    if same.ndim != 1 or (num_pairs is not None and len(same) != num_pairs):
        raise ValueError(f"is_same must hold one label for each of the {num_pairs} pairs, got shape {same.shape}")
    if same.all() or not same.any():
        raise ValueError(
            f"all {len(same)} pairs are labelled {'same' if same.any() else 'different'}: verification needs both"
            " classes"
        )
    return same


def _fold_counts(
    first_accepting: NDArray[np.intp], same: NDArray[np.bool_], folds: NDArray[np.int64], num_folds: int
) -> _FoldCounts:
    num_bins = len(THRESHOLDS) + 1
    cells = (folds * 2 + same) * num_bins + first_accepting
    histogram = np.bincount(cells, minlength=num_folds * 2 * num_bins).reshape(num_folds, 2, num_bins)
    accepted = histogram.cumsum(axis=2)
    return _FoldCounts(accepted[:, 1, :-1], accepted[:, 0, :-1], accepted[:, 1, -1], accepted[:, 0, -1])


def _chosen_thresholds(counts: _FoldCounts) -> NDArray[np.intp]:
    """(F,) index of the first threshold that decides the most pairs of the other folds rightly."""
    right = counts.same + counts.num_different[:, None] - counts.different
    return np.argmax(right.sum(axis=0) - right, axis=1)


def _mean_rate(accepted: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.float64]:
    return (accepted / np.maximum(totals, 1)[:, None]).mean(axis=0)


class _ExactCurve(NamedTuple):
    best_accuracy: float
    best_threshold: float
    auc: float
    eer: float


def _exact_curve(distances: FloatArray, same: NDArray[np.bool_]) -> _ExactCurve:
    """Figures from every candidate threshold: each distinct distance, and beyond the last."""
    order = np.argsort(distances, kind="stable")
    values = distances[order].astype(np.float64)
    last_of_tie = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    accepted_same = np.concatenate([[0], np.cumsum(same[order])[last_of_tie]])
    accepted_different = np.concatenate([[0], last_of_tie + 1]) - accepted_same
    num_same, num_different = int(same.sum()), int((~same).sum())
    right = accepted_same + num_different - accepted_different
    best = int(np.argmax(right))
    edges = np.concatenate([[values[0] - 1e-6], values[last_of_tie], [values[-1] + 1e-6]])
    tpr, fpr = accepted_same / num_same, accepted_different / num_different
    auc = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
    return _ExactCurve(
        float(right[best] / len(values)), float((edges[best] + edges[best + 1]) / 2), auc, _equal_error_rate(tpr, fpr)
    )


def _equal_error_rate(tpr: NDArray[np.float64], fpr: NDArray[np.float64]) -> float:
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    return float(fpr[before] + share * (fpr[after] - fpr[before]))
