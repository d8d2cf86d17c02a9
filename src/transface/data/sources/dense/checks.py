"""What is checked of photographs with points or regions before the first step, whatever form they came in.

Shapes: n images, P points.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.data.crops.dense_set import DenseSet
from transface.images.files import below, require_images
from transface.told_once import warn_once

logger = logging.getLogger(__name__)


def checked(dense: DenseSet, root: Path) -> DenseSet:
    """Return a set without lines that come again in a split, all of whose images are there and can be cut out.

    Args:
        root: what the user gave.

    Raises:
        FileNotFoundError: for an image that is not there.
        ValueError: for no image, a path out of the folder, points that are no numbers, or a box without area.
    """
    if not dense.paths:
        raise ValueError(f"{root} names no image: its lists have no lines of images")
    if dense.encoded is None:
        _refuse_missing(dense, root)
    _refuse_numbers(dense)
    return _once_each(dense, root)


def _refuse_missing(dense: DenseSet, root: Path) -> None:
    names = [below(dense.root, path, source=root) for path in dense.paths]
    require_images(dense.root, names, source=f"the lists in {root}")


def _refuse_numbers(dense: DenseSet) -> None:
    """Raise ValueError for points that are no numbers, or a box (one around points too) without area."""
    for what, places in (("points", dense.points), ("points", dense.anchors)):
        if places is not None and (odd := np.flatnonzero(~np.isfinite(places).all((1, 2)))).size:
            raise ValueError(
                f"{dense.name(int(odd[0]))}: its {what} must be finite numbers, {len(odd)} images' are not"
            )
    whole = np.isnan(dense.boxes).all(1)
    sides = dense.boxes[:, 2:] - dense.boxes[:, :2]
    if (odd := np.flatnonzero(~whole & ~(np.isfinite(sides) & (sides > 0)).all(1))).size:
        box = ", ".join(f"{value:g}" for value in dense.boxes[odd[0]])
        raise ValueError(
            f"{dense.name(int(odd[0]))}: its box (top, left, bottom, right) must have an area, got {box}; so it is for"
            f" {len(odd)} images: take them out of the lists"
        )
    if dense.anchors is not None and (odd := np.flatnonzero(~(np.ptp(dense.anchors, axis=1) > 0).any(1))).size:
        raise ValueError(f"{dense.name(int(odd[0]))}: its eyes, nose and mouth lie in one point")


def _once_each(dense: DenseSet, root: Path) -> DenseSet:
    """Return a set without the lines that a split has again; warn of them, and of faces of train in other splits.

    A photograph may show several faces: the same face is one of the same box.
    """
    if dense.encoded is not None:
        return dense
    faces = [(path, box.tobytes()) for path, box in zip(dense.paths, dense.boxes, strict=True)]
    first: dict[tuple[tuple[str, bytes], str], int] = {}
    again = []
    for place, own in enumerate(zip(faces, dense.splits.tolist(), strict=True)):
        if first.setdefault(own, place) != place:
            again.append(place)
    training = {face for face, split in first if split == "train"}
    shared = {place: split for (face, split), place in first.items() if split != "train" and face in training}
    if again:
        first_again = dense.paths[again[0]]
        warn_once(logger, "%s names %d faces again, such as %s: each counts once", root, len(again), first_again)
    if shared:
        warn_once(
            logger,
            "%s: %d faces are in train and in %s too, %s the first: figures there are not of unseen faces",
            root,
            len(shared),
            ", ".join(sorted(set(shared.values()))),
            dense.paths[min(shared)],
        )
    return dense if not again else taken(dense, np.setdiff1d(np.arange(len(dense.paths)), again))


def taken(dense: DenseSet, rows: NDArray[np.int64]) -> DenseSet:
    """Return the images at some places of a set, in the order given."""
    mask, encoded = dense.mask, dense.encoded
    return dense._replace(
        paths=[dense.paths[row] for row in rows.tolist()],
        splits=dense.splits[rows],
        boxes=dense.boxes[rows],
        anchors=None if dense.anchors is None else dense.anchors[rows],
        points=None if dense.points is None else dense.points[rows],
        visible=None if dense.visible is None else dense.visible[rows],
        mask=None if mask is None else partial(_at, mask, rows),
        encoded=None if encoded is None else partial(_at, encoded, rows),
    )


def _at(read: Callable[[int], Any], rows: NDArray[np.int64], index: int) -> Any:
    return read(int(rows[index]))
