"""The four landmark data sets of Faceptor: how many points, which of them give the unit of an error, which box is cut
out.

Shapes: M images, P points. Boxes are y1, x1, y2, x2 in pixels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


class LandmarkSet(NamedTuple):
    """One data set of points.

    Attributes:
        num_points: P.
        eye_corners: the outer corner of each eye (inter-ocular).
        pupils: the points around each pupil (inter-pupil), or None.
        unit: the published normalisation.
        crop_scale: size of the face in the crop, mu.
        offset: subtracted from landmarks and centres of its lists, in pixels.
    """

    num_points: int
    eye_corners: tuple[tuple[int, ...], tuple[int, ...]]
    pupils: tuple[tuple[int, ...], tuple[int, ...]] | None
    unit: str
    crop_scale: float
    offset: float = 0.0


LANDMARK_SETS: Mapping[str, LandmarkSet] = {
    "300w": LandmarkSet(68, ((36,), (45,)), (tuple(range(36, 42)), tuple(range(42, 48))), "inter_ocular", 0.8, 2.0),
    "cofw": LandmarkSet(29, ((8,), (9,)), None, "inter_ocular", 0.8),
    "wflw": LandmarkSet(98, ((60,), (72,)), ((96,), (97,)), "inter_ocular", 0.8),
    "aflw": LandmarkSet(19, ((6,), (11,)), ((7,), (10,)), "diag", 1.0),
}


def of_list_row(row: Floats, offset: float = 0.0) -> tuple[Floats, Floats]:
    """Return box (4,) and landmarks (P, 2) of a row of an HRNet list: scale, centre x, centre y, then x and y of each
    point.
    """
    row = np.asarray(row, np.float64)
    half = 100 * row[0]
    x, y = row[1:3] - offset
    return np.array([y - half, x - half, y + half, x + half], np.float32), (row[3:].reshape(-1, 2) - offset).astype(
        np.float32
    )


def of_cofw_row(row: Floats) -> tuple[Floats, Floats]:
    """Return box and landmarks of a row of COFW: x of all points, y of all points, then their occlusion; the box is a
    square around them.
    """
    points = np.asarray(row, np.float64).reshape(3, -1)[:2].T
    return square_around(points).astype(np.float32), points


def square_around(points: Floats) -> NDArray[np.float64]:
    """Return the box (4,) of HRNet's lists around points (P, 2) as their set counts them: the square of whole pixels
    that holds them.
    """
    low, high = np.floor(points.min(0)), np.ceil(points.max(0))
    (x, y), half = (low + high) / 2, (high - low).max() / 2
    return np.array([y - half, x - half, y + half, x + half], np.float64)


def of_aflw_row(box: Floats, row: Floats) -> tuple[Floats, Floats]:
    """Return box and landmarks of AFLW's release: left, right, top, bottom, and x of all points, then y."""
    left, right, top, bottom = box
    return np.array([top, left, bottom, right], np.float32), np.asarray(row, np.float64).reshape(2, -1).T
