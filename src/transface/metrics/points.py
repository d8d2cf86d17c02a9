"""Errors of points: mean distance in a unit of the face, share of images below an error, area under that curve,
failures.

Shapes: M images, P points, x and y in pixels of the original image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def point_errors(predicted: NDArray[np.floating], points: NDArray[np.floating], unit: NDArray[np.floating]) -> Floats:
    """Return the normalised mean error (M,) of points (M, P, 2): the mean distance of each image over its unit (M,).

    Raises:
        ValueError: if the shapes differ or a unit is not positive.
    """
    if predicted.shape != points.shape or predicted.ndim != 3 or len(unit) != len(points):
        raise ValueError(
            f"points must be (M, P, 2) of one shape with M units, got {predicted.shape}, {points.shape} and"
            f" {unit.shape}"
        )
    if not (np.asarray(unit) > 0).all():
        raise ValueError("the unit of an error must be positive in every image")
    distance = np.linalg.norm(np.asarray(predicted, np.float64) - np.asarray(points, np.float64), axis=-1)
    return distance.mean(1) / np.asarray(unit, np.float64)


def distance_between(points: NDArray[np.floating], first: Sequence[int], second: Sequence[int]) -> Floats:
    """Return the distance (M,) between the centres of two sets of points: eye corners, or the points around each
    pupil.
    """
    points = np.asarray(points, np.float64)
    return np.linalg.norm(points[:, list(first)].mean(1) - points[:, list(second)].mean(1), axis=-1)


def box_unit(boxes: NDArray[np.floating]) -> Floats:
    """Return the square root of the area (M,) of boxes (M, 4): y1, x1, y2, x2."""
    height, width = _sides(boxes)
    return np.sqrt(height * width)


def diagonal_unit(boxes: NDArray[np.floating]) -> Floats:
    """Return the diagonal (M,) of boxes (M, 4): y1, x1, y2, x2."""
    height, width = _sides(boxes)
    return np.sqrt(height**2 + width**2)


def _sides(boxes: NDArray[np.floating]) -> tuple[Floats, Floats]:
    boxes = np.asarray(boxes, np.float64)
    return boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]


class ErrorCurve(NamedTuple):
    """The cumulative distribution of errors.

    Attributes:
        errors: the axis, 0 to the threshold in steps.
        share: of images whose error is at most that.
        auc: the area under the curve over the threshold, 0..1.
        failure_rate: share of images above the last error of the axis.
    """

    errors: Floats
    share: Floats
    auc: float
    failure_rate: float


def error_curve(errors: NDArray[np.floating], threshold: float, step: float = 1e-4) -> ErrorCurve:
    """Return the cumulative error distribution of errors (M,) up to a threshold.

    The axis is numpy.arange(0, threshold + step, step), as in published evaluations: for 0.07 rounding gives it one
    value more, 0.0701.

    Raises:
        ValueError: for no errors.
    """
    if not len(errors):
        raise ValueError("a curve of errors needs at least one image")
    axis = np.arange(0.0, threshold + step, step)
    share = np.searchsorted(np.sort(np.asarray(errors, np.float64)), axis, side="right") / len(errors)
    return ErrorCurve(axis, share, simpson(share, axis) / threshold, float(1 - share[-1]))


def simpson(values: Floats, axis: Floats) -> float:
    """Return Simpson's integral of values on an even axis; for an even count the classic rule: the mean of a trapezoid
    first and last.
    """
    step = (axis[-1] - axis[0]) / (len(axis) - 1)
    if len(values) % 2:
        return _simpson_of_odd(values, step)
    first = _simpson_of_odd(values[:-1], step) + 0.5 * step * (values[-2] + values[-1])
    last = _simpson_of_odd(values[1:], step) + 0.5 * step * (values[0] + values[1])
    return 0.5 * (first + last)


def _simpson_of_odd(values: Floats, step: float) -> float:
    return float(step / 3 * (values[0] + values[-1] + 4 * values[1:-1:2].sum() + 2 * values[2:-1:2].sum()))
