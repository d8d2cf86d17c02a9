"""Canvases: each photograph cut out with room around its crop, so that a step can move, turn and scale it.

Shapes: B images, S side of a crop, C side of a canvas. Images are RGB, uint8.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import encode_png

from transface.data.batches import FaceBatch
from transface.data.crops.dense_set import DenseSet
from transface.data.crops.geometry import apply_matrix, sample_bilinear, sample_nearest, sampling_map
from transface.data.labels.points import CanvasTargets
from transface.images.alignment import warp
from transface.images.decoding import decode_images
from transface.images.headers import turns_by_exif
from transface.told_once import warn_once

logger = logging.getLogger(__name__)


class Canvases:
    """The images of a split as canvases, with their points or regions; a map-style data set read by batches.

    Args:
        dense: photographs with points or regions.
        split: which of them.
        side: S.
        room: C over S: what lies further out is black in every view.

    Raises:
        ValueError: for an empty split, or a room below 1.
    """

    def __init__(self, dense: DenseSet, *, split: str = "train", side: int = 512, room: float = 1.5) -> None:
        if room < 1 or side < 1:
            raise ValueError(f"a canvas has a room of at least 1 and a side of at least 1, got {room} and {side}")
        self.dense = dense
        self.rows = dense.rows(split)
        self.side = side
        self.canvas_side = side + 2 * round(side * (room - 1) / 2)
        self.image_size = (self.canvas_side, self.canvas_side)
        self.classes = None

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        return self.dense.name(int(self.rows[index]))

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the canvases of the images at `indices`, with CanvasTargets."""
        parts = [self._canvas(int(self.rows[index])) for index in indices]
        images, points, regions = (torch.stack(list(one)) for one in zip(*parts, strict=True))
        count = len(parts)
        targets = CanvasTargets(
            points,
            regions,
            torch.full((count,), float(self.dense.warp)),
            torch.full((count,), self.side),
            torch.full((count,), float(self.dense.scale)),
        )
        return FaceBatch(images, targets, torch.tensor([int(index) for index in indices], dtype=torch.int64))

    def _canvas(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        picture = upright_photograph(self.dense, row)[None]
        size = (int(picture.shape[2]), int(picture.shape[3]))
        matrix = self.matrix(row, size)
        canvas = warp(picture, torch.from_numpy(matrix[None, :2]), size=self.image_size)[0]
        points = np.zeros((0, 2)) if self.dense.points is None else apply_matrix(matrix, self.dense.points[row])
        regions: NDArray[Any] = np.zeros((0, 0), dtype=np.uint8)
        if self.dense.mask is not None:
            regions = sample_nearest(self._mask(row, size), sampling_map(matrix, self.image_size))
        return canvas, torch.from_numpy(points).float(), torch.from_numpy(regions)

    def _mask(self, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        assert self.dense.mask is not None
        return mask_of_size(self.dense.mask(row), size, name=self.dense.name(row))

    def matrix(self, row: int, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the matrix from the pixels of a photograph of (height, width) to those of its canvas."""
        moved = self.dense.matrix(row, self.side, size).copy()
        moved[:2, 2] += (self.canvas_side - self.side) / 2
        return moved


def upright_photograph(dense: DenseSet, row: int) -> Tensor:
    """Return the photograph `row` (3, H, W) uint8, turned as its EXIF says; which is told once of a set, as its points
    may be those of the photograph as it is stored.

    Raises:
        ValueError: if it cannot be read, or its points lie beyond it and within the stored one.
    """
    encoded = dense.bytes_of(row)
    picture = decode_images([encoded], names=[dense.name(row)])[0]
    if not turns_by_exif(encoded):
        return picture
    places = dense.points if dense.points is not None else dense.anchors
    if places is not None:
        middle, sides = places[row].mean(0), np.array([picture.shape[2], picture.shape[1]])
        if not (middle < sides).all() and (middle < sides[::-1]).all():
            raise ValueError(
                f"{dense.name(row)}: its points are those of the photograph before its EXIF turns it: store it upright,"
                " or without its EXIF"
            )
    warn_once(
        logger,
        "%s: a photograph is turned by its EXIF: points and regions are taken as those of the upright one",
        dense.root,
    )
    return picture


def mask_of_size(mask: NDArray[np.uint8], size: tuple[int, int], *, name: object = "image") -> NDArray[np.uint8]:
    """Return a mask (h, w) at the (height, width) of its photograph, by the nearest pixel; CelebAMask-HQ's are half as
    large.

    Args:
        name: what an error calls the photograph.

    Raises:
        ValueError: for a mask of another shape.
    """
    if mask.shape == size:
        return mask
    refuse_other_shape(mask, size, name=name)
    rows = ((np.arange(size[0]) + 0.5) * mask.shape[0] / size[0]).astype(np.int64)
    columns = ((np.arange(size[1]) + 0.5) * mask.shape[1] / size[1]).astype(np.int64)
    return mask[rows[:, None], columns[None]]


def refuse_other_shape(mask: NDArray[np.uint8], size: tuple[int, int], *, name: object) -> None:
    """Raise ValueError for a mask (h, w) whose sides are not those of the (height, width) of its photograph, but for a
    factor and the rounding to whole pixels.
    """
    if abs(mask.shape[0] * size[1] - mask.shape[1] * size[0]) > max(*size, *mask.shape):
        raise ValueError(
            f"the mask ({mask.shape[1]}x{mask.shape[0]}) is of another shape than {name} ({size[1]}x{size[0]}): is it"
            " that of another photograph, or of one turned otherwise?"
        )


class CropSource:
    """The crops of a split for evaluation, each sampled once from its photograph, and the way back to it.

    Attributes:
        name: of the set in results.

    Args:
        name: see above.
        dense: photographs with points or regions.
        split: which of them.
    """

    def __init__(self, name: str, dense: DenseSet, split: str) -> None:
        self.name = name
        self.dense = dense
        self.rows = dense.rows(split)
        self._sizes: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the crops of the images at `indices`, (B, 3, S, S) uint8.

        Raises:
            ValueError: for a size that is not square, or an image that cannot be read.
        """
        if size[0] != size[1]:
            raise ValueError(f"crops of faces are square, and the network takes {size[0]}x{size[1]}")
        return torch.stack([self._crop(int(self.rows[int(index)]), size[0]) for index in indices])

    def _crop(self, row: int, side: int) -> Tensor:
        picture = upright_photograph(self.dense, row)
        self._sizes[row] = (int(picture.shape[1]), int(picture.shape[2]))
        positions = sampling_map(self.matrix(row, side), (side, side), self.dense.warp)
        crop = sample_bilinear(picture.permute(1, 2, 0).numpy(), positions)
        return torch.from_numpy(crop.round().clip(0, 255).astype(np.uint8)).permute(2, 0, 1)

    def matrix(self, row: int, side: int) -> NDArray[np.float64]:
        """Return the matrix from the pixels of the photograph `row` to those of its crop of `side` pixels."""
        return self.dense.matrix(row, side, self.size(row))

    def size(self, row: int) -> tuple[int, int]:
        """Return height and width of a photograph."""
        if row not in self._sizes:
            picture = upright_photograph(self.dense, row)
            self._sizes[row] = (int(picture.shape[1]), int(picture.shape[2]))
        return self._sizes[row]

    def suppose_size(self, size: tuple[int, int]) -> None:
        """Take every photograph to be of (height, width), so that none is read: where answers are no real ones."""
        self._sizes = dict.fromkeys(self.rows.tolist(), size)

    def thumbnail(self, index: int) -> bytes:
        """Return the crop of one image as PNG."""
        return bytes(encode_png(self.read([index], (112, 112))[0]).numpy())

    def fingerprint(self) -> str:
        """Return what tells this source from others: its name and the names of its images."""
        return "\0".join([self.name, *(self.dense.name(int(row)) for row in self.rows)])
