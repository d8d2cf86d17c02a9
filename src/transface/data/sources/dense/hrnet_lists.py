"""300W and WFLW as HRNet lists them: a CSV a split, of image, scale, centre, and x and y of every point.

Coordinates of 300W count from 1 and are moved by its offset (landmark_sets.py). Shapes: n images, P points.
"""

import csv
from pathlib import Path
from typing import Literal

import numpy as np

from transface.data.crops.dense_set import DenseSet
from transface.data.crops.landmark_sets import LANDMARK_SETS, of_list_row
from transface.images.files import list_lines

FOLDERS = ("data", "images", "WFLW_images", ".")
# The file on the disk has a space in its name, the published lists have none; copies of either were mended.
SPACED, UNSPACED = "ibug/image_092 _01.jpg", "ibug/image_092_01.jpg"


def read_hrnet_lists(root: str | Path, which: Literal["300w", "wflw"], *, suffix: str | None = None) -> DenseSet:
    """Return all images of face_landmarks_<which>_<split>.csv; "valid" is "val"; each list is a split of its own.

    Args:
        root: the folder with the lists, with the images in data/, images/ or beside them.
        which: of the two.
        suffix: only lists of this split, e.g. "train".

    Raises:
        FileNotFoundError: no list.
        ValueError: no image, a line with another number of values, or a value that is no number.
    """
    root = Path(root)
    lists = sorted(root.glob(f"face_landmarks_{which}_{suffix or '*'}.csv"))
    if not lists:
        raise FileNotFoundError(f"no face_landmarks_{which}_*.csv in {root}: HRNet's lists of {which} have that name")
    known = LANDMARK_SETS[which]
    paths, splits, boxes, points = [], [], [], []
    for file in lists:
        split = file.stem.removeprefix(f"face_landmarks_{which}_")
        for name, row in _rows(file, known.num_points):
            box, own = of_list_row(row, known.offset)
            paths.append(name.strip().replace("\\", "/"))
            splits.append("val" if split == "valid" else split)
            boxes.append(box)
            points.append(own)
    if not paths:
        raise ValueError(f"{root}: its lists, {lists[0].name} the first, name no image")
    names = tuple(f"point_{number}" for number in range(known.num_points))
    folder = _images_of(root, paths)
    return DenseSet(
        folder,
        [_on_disk(folder, path) for path in paths],
        np.array(splits, dtype="<U24"),
        names,
        np.array(boxes, np.float64),
        scale=known.crop_scale,
        points=np.array(points, np.float64),
        landmarks=known,
    )


def _rows(file: Path, num_points: int) -> list[tuple[str, np.ndarray]]:
    found = []
    for number, row in enumerate(csv.reader(list_lines(file)), 1):
        if not row or (number == 1 and not _is_number(row[1:2])):
            continue  # the head
        if len(row) != 4 + 2 * num_points:
            raise ValueError(
                f"{file}: line {number} must hold image, scale, two of the centre and {2 * num_points} of points,"
                f" got {len(row)} values"
            )
        try:
            values = np.array([float(cell) for cell in row[1:]])
        except ValueError:
            raise ValueError(
                f"{file}: line {number} holds something that is no number: {','.join(row)[:80]!r}"
            ) from None
        if not np.isfinite(values).all() or values[0] <= 0:
            raise ValueError(f"{file}: line {number} must have finite numbers and a positive scale, got {row[1]}")
        found.append((row[0], values))
    return found


def _is_number(cells: list[str]) -> bool:
    try:
        return bool(cells) and np.isfinite(float(cells[0]))
    except ValueError:
        return False


def _images_of(root: Path, paths: list[str]) -> Path:
    """Return the folder that has most of the first images; checks.py says which are not there."""
    folders = [root / name for name in FOLDERS if (root / name).is_dir()]
    return max(folders, key=lambda folder: sum((folder / path).is_file() for path in paths[:50]))


def _on_disk(folder: Path, path: str) -> str:
    for own, other in ((SPACED, UNSPACED), (UNSPACED, SPACED)):
        if path.endswith(own) and not (folder / path).is_file():
            return path.removesuffix(own) + other
    return path
