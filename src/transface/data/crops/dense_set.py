"""Photographs with points or regions: where the face lies in each, and how it is cut out of it.

Faceptor's and FaRL's crops. Shapes: n images, P points, H x W pixels of a photograph.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.data.crops.geometry import about_centre, crop_matrix, lapa_target, similarity
from transface.data.crops.landmark_sets import LandmarkSet

MaskReader = Callable[[int], NDArray[np.uint8]]


class DenseSet(NamedTuple):
    """What a data set of points or regions holds.

    Attributes:
        root: the folder that the paths are relative to, or what holds the images.
        paths: of n photographs; empty strings where `encoded` gives their bytes.
        splits: (n,) "train", "val", "test", or another name of a subset.
        names: of the points or regions.
        boxes: (n, 4) y1, x1, y2, x2 of the faces; NaN: the whole photograph.
        scale: of the face in its crop: 1 fills it with the box.
        anchors: (n, 5, 2) pupils, tip of the nose, corners of the mouth that are brought to LaPa's places instead of a
            box, or None.
        warp: share of the crop that the tanh warp bends.
        points: (n, P, 2) x and y in pixels of the photograph, or None.
        visible: (n, P) whether a point can be seen, or None where nobody says.
        mask: number of an image -> (H, W) uint8 numbers of its regions, or None.
        landmarks: which points give the unit of an error, or None.
        encoded: number of an image -> its encoded bytes, where it is in no file of its own.
    """

    root: Path
    paths: list[str]
    splits: NDArray[np.str_]
    names: tuple[str, ...]
    boxes: NDArray[np.float64]
    scale: float = 1.0
    anchors: NDArray[np.float64] | None = None
    warp: float = 0.0
    points: NDArray[np.float64] | None = None
    visible: NDArray[np.bool_] | None = None
    mask: MaskReader | None = None
    landmarks: LandmarkSet | None = None
    encoded: Callable[[int], bytes] | None = None

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the places of the images of a split ("all": of every one, once, also where it is in a subset too;
        "trainval": of train and val).

        Raises:
            ValueError: if there are none.
        """
        named = {"all": sorted(set(self.splits.tolist())), "trainval": ["train", "val"]}.get(split, [split])
        found = np.flatnonzero(np.isin(self.splits, named))
        if split == "all" and self.encoded is None:
            first: dict[tuple[str, bytes], int] = {}
            for place in found.tolist():
                first.setdefault((self.paths[place], self.boxes[place].tobytes()), place)
            found = np.array(list(first.values()), dtype=np.int64)
        if not len(found):
            there = ", ".join(sorted(set(self.splits.tolist()))) or "none"
            raise ValueError(f"{self.root} has no images in its split {split!r}: its splits are {there}")
        return found

    def name(self, index: int) -> str:
        """Return what an error calls an image."""
        return str(self.root / self.paths[index]) if self.encoded is None else f"image {index} of {self.root}"

    def image_names(self, split: str) -> list[str]:
        """Return what errors call the images of a split.

        Raises:
            ValueError: as rows.
        """
        return [self.name(int(row)) for row in self.rows(split)]

    def bytes_of(self, index: int) -> bytes:
        """Return the encoded bytes of an image.

        Raises:
            ValueError: if it cannot be read.
        """
        if self.encoded is not None:
            return self.encoded(index)
        try:
            return (self.root / self.paths[index]).read_bytes()
        except OSError as error:
            raise ValueError(f"image {self.name(index)} cannot be read: {error.strerror}") from None

    def matrix(self, index: int, side: int, picture: tuple[int, int]) -> NDArray[np.float64]:
        """Return the matrix from the pixels of a photograph of (height, width) to those of its crop of `side` pixels.

        Raises:
            ValueError: for a box without area.
        """
        if self.anchors is not None:
            return similarity(self.anchors[index], lapa_target(side))
        box: Any = self.boxes[index]
        if not np.isfinite(box).all():
            box = np.array([-0.5, -0.5, picture[0] - 0.5, picture[1] - 0.5])
        return about_centre(crop_matrix(box, side), size=side, scale=self.scale)


def split_off_val(splits: NDArray[np.str_], share: float, *, seed: int = 0) -> NDArray[np.str_]:
    """Return the splits with a share of the images of "train" in "val", where there is no "val".

    Raises:
        ValueError: for a share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"val_share must be at least 0 and below 1, got {share}")
    if (splits == "val").any():
        return splits
    found = splits.astype(np.result_type(splits.dtype, np.dtype("<U3")))
    training = np.flatnonzero(found == "train")
    chosen = np.random.default_rng(seed).permutation(training)[: round(share * len(training))]
    found[chosen] = "val"
    return found


def shared_out(count: int, shares: tuple[float, float, float], *, seed: int = 0) -> NDArray[np.str_]:
    """Return splits (n,) train, val and test, of these shares, for a set that brings none."""
    order = np.random.default_rng(seed).permutation(count)
    found = np.full(count, "train", dtype="<U16")
    first, second = round(shares[1] * count), round((shares[1] + shares[2]) * count)
    found[order[:first]] = "val"
    found[order[first:second]] = "test"
    return found
