"""From an original image to the model's crop and back: boxes, similarities, and the warp that bends the far outside
into the crop.

Faceptor's and FaRL's geometry; RoI Tanh-warp (CVPR 2019). Matrices are 3 x 3 and act on (x, y, 1) of original pixels.
Shapes: P points (x, y), H x W pixels, C channels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def apply_matrix(matrix: Floats, points: Floats) -> NDArray[np.float64]:
    """Return points (*, P, 2) moved by matrices (*, 3, 3)."""
    matrix = np.asarray(matrix, np.float64)
    moved: NDArray[np.float64] = (
        np.asarray(points, np.float64) @ np.swapaxes(matrix[..., :2, :2], -1, -2) + matrix[..., None, :2, 2]
    )
    return moved


def crop_matrix(box: Floats, size: int = 512) -> NDArray[np.float64]:
    """Return the matrix from original pixels to a square crop of a box y1, x1, y2, x2; half-pixel centres.

    Raises:
        ValueError: for a box without area.
    """
    y1, x1, y2, x2 = np.asarray(box, np.float64)
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"a box is y1, x1, y2, x2 with an area, got {[float(value) for value in box]}")
    scale_x, scale_y = size / (x2 - x1), size / (y2 - y1)
    return np.array([[scale_x, 0, -x1 * scale_x - 0.5], [0, scale_y, -y1 * scale_y - 0.5], [0, 0, 1]])


def about_centre(
    matrix: Floats, *, size: int = 512, shift: Sequence[float] = (0.0, 0.0), radians: float = 0.0, scale: float = 1.0
) -> NDArray[np.float64]:
    """Return a matrix followed by a similarity about the centre of the crop: scale, turn, then shift in pixels."""
    cosine, sine = scale * np.cos(radians), scale * np.sin(radians)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    centre = np.full(2, (size - 1) / 2)
    after = np.eye(3)
    after[:2, :2] = linear
    after[:2, 2] = centre - linear @ centre + np.asarray(shift, np.float64)
    return after @ np.asarray(matrix, np.float64)


def similarity(points: Floats, target: Floats) -> NDArray[np.float64]:
    """Return the matrix of scale, turn and shift that brings points (P, 2) closest to a target (P, 2) by least squares;
    no reflection.

    Raises:
        ValueError: for fewer than two different points.
    """
    points, target = np.asarray(points, np.float64), np.asarray(target, np.float64)
    centre, aim = points.mean(0), target.mean(0)
    own, other = points - centre, target - aim
    spread = (own**2).sum()
    if not spread > 0:
        raise ValueError("a similarity needs at least two different points")
    along = (own * other).sum() / spread
    across = (own[:, 0] * other[:, 1] - own[:, 1] * other[:, 0]).sum() / spread
    matrix = np.eye(3)
    matrix[:2, :2] = [[along, -across], [across, along]]
    matrix[:2, 2] = aim - matrix[:2, :2] @ centre
    return matrix


LAPA_POINTS = (104, 105, 54, 84, 90)


def lapa_target(size: int = 512) -> NDArray[np.float64]:
    """Return where pupils, tip of the nose and corners of the mouth lie in a LaPa crop (5, 2)."""
    points = np.array([[196, 226], [316, 226], [256, 286], [220, 360.4], [292, 360.4]])
    return points * (size - 1) / 512


def warp_points(points: Floats, matrix: Floats, size: tuple[int, int], factor: float) -> NDArray[np.float64]:
    """Return where points (*, 2) of the original lie in a warped image of (height, width); factor 0 bends nothing, 1
    everything.
    """
    sides = np.array(size[::-1], np.float64)
    scaled = 2 * apply_matrix(matrix, points) / sides - 1
    if factor:
        start = 1 - factor
        bent = np.sign(scaled) * (np.tanh((np.abs(scaled) - start) / factor) * factor + start)
        scaled = np.where(np.abs(scaled) > start, bent, scaled)
    warped: NDArray[np.float64] = (scaled + 1) / 2 * sides
    return warped


def unwarp_points(points: Floats, matrix: Floats, size: tuple[int, int], factor: float) -> NDArray[np.float64]:
    """Return where points (*, 2) of a warped image lie in the original; what is bent beyond an argument of 0.999 stops
    there.
    """
    sides = np.array(size[::-1], np.float64)
    scaled = 2 * np.asarray(points, np.float64) / sides - 1
    if factor:
        start = 1 - factor
        straight = np.arctanh(np.clip((np.abs(scaled) - start) / factor, -0.999, 0.999)) * factor + start
        scaled = np.where(np.abs(scaled) > start, np.sign(scaled) * straight, scaled)
    return apply_matrix(np.linalg.inv(np.asarray(matrix, np.float64)), (scaled + 1) / 2 * sides)


def pixel_grid(size: tuple[int, int]) -> NDArray[np.float64]:
    """Return x and y (H, W, 2) of every pixel."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    return np.stack([columns, rows], -1)


def sampling_map(matrix: Floats, size: tuple[int, int], factor: float = 0.0) -> NDArray[np.float32]:
    """Return the original position (H, W, 2) that each pixel of a warped image shows."""
    return unwarp_points(pixel_grid(size), matrix, size, factor).astype(np.float32)


def inverse_map(matrix: Floats, size: tuple[int, int], factor: float, original: tuple[int, int]) -> NDArray[np.float32]:
    """Return the position in the warped image (H, W, 2) that answers for each pixel of an original of (height,
    width).
    """
    return warp_points(pixel_grid(original), matrix, size, factor).astype(np.float32)


def sample_bilinear(image: NDArray, positions: Floats) -> NDArray[np.float32]:
    """Return an image (H, W) or (H, W, C) at positions (*, 2), zero outside; positions are rounded to 1/32 pixel, as
    OpenCV does.
    """
    height, width = image.shape[:2]
    padded = np.zeros((height + 2, width + 2, *image.shape[2:]), np.float32)
    padded[1:-1, 1:-1] = image
    # Far outside is as dark as one pixel outside; without the bound the indices would overflow.
    limits = np.array([width, height], np.float64)
    rounded = np.round(np.clip(np.asarray(positions, np.float64), -1, limits) * 32) / 32
    corner = np.floor(rounded).astype(np.int64)
    corner = np.minimum(corner, np.array([width - 1, height - 1]))
    part = (rounded - corner).astype(np.float32)
    x, y = (corner[..., axis] + 1 for axis in (0, 1))
    share_x, share_y = (part[..., axis].reshape(*part.shape[:-1], *[1] * (image.ndim - 2)) for axis in (0, 1))
    top = padded[y, x] * (1 - share_x) + padded[y, x + 1] * share_x
    bottom = padded[y + 1, x] * (1 - share_x) + padded[y + 1, x + 1] * share_x
    return top * (1 - share_y) + bottom * share_y


def sample_nearest(labels: NDArray, positions: Floats) -> NDArray:
    """Return labels (H, W) at positions (*, 2) of the nearest pixel, 0 outside."""
    height, width = labels.shape
    x, y = (
        np.rint(np.clip(np.asarray(positions)[..., axis], -2, side + 2)).astype(np.int64)
        for axis, side in ((0, width), (1, height))
    )
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.where(inside, labels[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], 0).astype(labels.dtype)


def regions_of_original(logits: Floats, matrix: Floats, factor: float, original: tuple[int, int]) -> NDArray[np.int64]:
    """Return the class (H, W) of every pixel of the original from logits (h, w, C) of its crop; where none reaches:
    class 0.
    """
    return sample_bilinear(np.asarray(logits), inverse_map(matrix, logits.shape[:2], factor, original)).argmax(-1)
