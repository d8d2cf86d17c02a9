"""How far apart the error rates of groups of people are, and what chance alone would make of equal groups.

Shapes: G groups.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

GARBE_WEIGHT = 0.5
FDR_WEIGHT = 0.5

Floats = NDArray[np.float64]


def max_over_geometric_mean(rates: ArrayLike) -> float:
    """Return the largest of G rates over their geometric mean; NaN where one is 0."""
    values = np.asarray(rates, np.float64)
    return float(values.max() / np.exp(np.log(values).mean())) if (values > 0).all() else float("nan")


def max_over_min(rates: ArrayLike) -> float:
    """Return the largest of G rates over the smallest; NaN where one is 0."""
    values = np.asarray(rates, np.float64)
    return float(values.max() / values.min()) if (values > 0).all() else float("nan")


def gini(rates: ArrayLike) -> float:
    """Return the Gini coefficient of G rates with the small-sample factor G / (G - 1): 0 for equal ones, NaN where all
    are 0.

    Example:
        >>> gini([0.0, 0.0, 0.3])
        1.0
    """
    values = np.asarray(rates, np.float64)
    count, mean = len(values), values.mean()
    if count < 2 or mean == 0:
        return float("nan")
    return float(np.abs(values[:, None] - values).sum() / (2 * count**2 * mean) * count / (count - 1))


def fairness_discrepancy_rate(fmr: ArrayLike, fnmr: ArrayLike, *, weight: float = FDR_WEIGHT) -> float:
    """Return 1 - (weight x largest difference of FMR + (1 - weight) x largest difference of FNMR): 1 for equal
    groups.
    """
    spans = [np.ptp(np.asarray(rates, np.float64)) for rates in (fmr, fnmr)]
    return float(1 - (weight * spans[0] + (1 - weight) * spans[1]))


def garbe(fmr: ArrayLike, fnmr: ArrayLike, *, weight: float = GARBE_WEIGHT) -> float:
    """Return weight x Gini of FMR + (1 - weight) x Gini of FNMR; NaN where one has none."""
    return float(weight * gini(fmr) + (1 - weight) * gini(fnmr))
