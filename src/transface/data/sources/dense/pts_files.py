"""Points in .pts files, one beside each photograph, as iBUG publishes 300W, AFW, Helen and LFPW.

Coordinates count from 1; boxes are squares around the points as HRNet's lists have them. Those lists hold the very
numbers of these files, and are moved by 2 as published (landmark_sets.py), these by 1: points of one form lie a pixel
from those of the other. Shapes: n images, P points.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transface.data.crops.dense_set import DenseSet
from transface.data.crops.landmark_sets import LANDMARK_SETS, LandmarkSet, square_around
from transface.data.labels.points import MIRRORED_POINTS
from transface.data.lists.split_words import split_of_word
from transface.images.files import IMAGE_SUFFIXES, files_below, list_lines

# 300W's: iBUG is its challenging test set, the other two are those of the contest.
TEST_FOLDERS = {"ibug": "test", "01_indoor": "test", "02_outdoor": "test"}


def is_points_file(name: str) -> bool:
    """Return whether a file of this name should hold points."""
    return name.lower().endswith(".pts")


def read_pts_files(root: str | Path) -> DenseSet:
    """Return the photographs below a folder that have a .pts beside them; a folder named train, val or test is a split,
    300W's iBUG and contest are "test", all else is "train".

    Raises:
        FileNotFoundError: no .pts file, or one without its photograph.
        ValueError: a file of another form, or files of other numbers of points.
    """
    root = Path(root)
    found = sorted(name for name in files_below(root) if is_points_file(name))
    if not found:
        raise FileNotFoundError(f"no .pts file below {root}: each photograph has one of its name beside it")
    paths, splits, boxes, points = [], [], [], []
    for name in found:
        stem = name[: -len(".pts")]
        image = next((f"{stem}{end}" for end in _endings() if (root / f"{stem}{end}").is_file()), None)
        if image is None:
            raise FileNotFoundError(f"no photograph beside {root / name}: expected {stem}.jpg or .png")
        own = read_pts(root / name)
        paths.append(image)
        points.append(own - 1)
        boxes.append(square_around(own) - 1)
        own_splits = [split_of_word(part) or TEST_FOLDERS.get(part.lower()) for part in Path(name).parts[:-1]]
        splits.append(next(filter(None, reversed(own_splits)), "train"))
    if len({len(own) for own in points}) > 1:
        odd = next(place for place, own in enumerate(points) if len(own) != len(points[0]))
        raise ValueError(f"{root / found[odd]} has {len(points[odd])} points, {root / found[0]} has {len(points[0])}")
    count = len(points[0])
    names = tuple(f"point_{number}" for number in range(count))
    return DenseSet(
        root,
        paths,
        np.array(splits, dtype="<U16"),
        names,
        np.array(boxes),
        scale=0.8,
        points=np.array(points),
        landmarks=known_points(count),
    )


def known_points(count: int) -> LandmarkSet | None:
    """Return which of so many points give the unit of an error, None where that order is not known."""
    found = next((own for own in LANDMARK_SETS.values() if own.num_points == count), None)
    return found if count in MIRRORED_POINTS else None


def read_pts(path: Path) -> NDArray[np.float64]:
    """Return the points (P, 2) of a .pts file as they stand in it.

    Raises:
        ValueError: for another form, or another number of points than it states.
    """
    lines = [line.strip() for line in list_lines(path) if line.strip()]
    try:
        start, end = lines.index("{"), lines.index("}")
        stated = next(int(line.split(":")[1]) for line in lines[:start] if line.startswith("n_points"))
        points = np.array([[float(word) for word in line.split()] for line in lines[start + 1 : end]])
        if points.shape != (stated, 2):
            raise ValueError
    except (ValueError, StopIteration, IndexError):
        raise ValueError(
            f"{path} is no .pts file: expected 'version: 1', 'n_points: P', and P lines of x y between braces"
        ) from None
    return points


def _endings() -> tuple[str, ...]:
    return tuple(ending for suffix in IMAGE_SUFFIXES for ending in (suffix, suffix.upper()))
