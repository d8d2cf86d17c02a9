"""How well pixels are told apart: one confusion matrix over all images, F1 of each class and their mean.

Shapes: M images, H x W pixels, C classes.
"""

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(
    targets: NDArray[np.integer], predicted: NDArray[np.integer], num_classes: int
) -> NDArray[np.int64]:
    """Return the counts (C, C) of pixels: row of the target, column of the prediction.

    Raises:
        ValueError: if the shapes differ, or a label is outside 0..C-1.
    """
    if targets.shape != predicted.shape:
        raise ValueError(f"targets and predictions must have one shape, got {targets.shape} and {predicted.shape}")
    pairs = np.stack([targets.ravel(), predicted.ravel()]).astype(np.int64)
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < num_classes:
        raise ValueError(f"labels must be in 0..{num_classes - 1}, got {pairs.min()}..{pairs.max()}")
    return np.bincount(pairs[0] * num_classes + pairs[1], minlength=num_classes**2).reshape(num_classes, num_classes)


def region_f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the F1 (C,) of each class; NaN for a class that neither targets nor predictions hold."""
    found = 2.0 * np.diag(confusion)
    total = (confusion.sum(0) + confusion.sum(1)).astype(np.float64)
    return np.divide(found, total, out=np.full(len(confusion), np.nan), where=total > 0)


def mean_f1(f1: NDArray[np.float64], *, absent: str = "nan") -> float:
    """Return the mean F1 of all classes but the first, the background.

    Args:
        f1: (C,) of region_f1.
        absent: "nan": a class nobody has makes the mean NaN, as published; "skip": it is left out, for subsets.

    Raises:
        ValueError: for another word.
    """
    if absent not in ("nan", "skip"):
        raise ValueError(f'absent must be "nan" or "skip", got {absent!r}')
    if absent == "skip":
        f1 = f1[~np.isnan(f1) | (np.arange(len(f1)) == 0)]
    return float(f1[1:].mean()) if len(f1) > 1 else float("nan")
