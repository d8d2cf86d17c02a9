"""300W and WFLW as HRNet lists them: a CSV a split, of image, scale, centre, and x and y of every point.

Coordinates of 300W count from 1 and are moved by its offset (landmark_sets.py). Shapes: n images, P points.
"""

import csv
from pathlib import Path
from typing import Literal

import numpy as np

from transface.data.crops.dense_set import DenseSet
from transface.data.crops.landmark_sets import LANDMARK_SETS, of_list_row

FOLDERS = ("data", "images", "WFLW_images", ".")
RENAMED = {"ibug/image_092_01.jpg": "ibug/image_092 _01.jpg"}  # the file on disk has a space


def read_hrnet_lists(root: str | Path, which: Literal["300w", "wflw"], *, suffix: str | None = None) -> DenseSet:
    """Return all images of face_landmarks_<which>_<split>.csv; "valid" is "val"; each list is a split of its own.

    Args:
        root: the folder with the lists, with the images in data/, images/ or beside them.
        which: of the two.
        suffix: only lists of this split, e.g. "train".

    Raises:
        FileNotFoundError: no list, or an image is missing.
        ValueError: a line with another number of values, or a value that is no number.
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
            paths.append(RENAMED.get(name, name))
            splits.append("val" if split == "valid" else split)
            boxes.append(box)
            points.append(own)
    names = tuple(f"point_{number}" for number in range(known.num_points))
    return DenseSet(
        _images_of(root, paths),
        paths,
        np.array(splits, dtype="<U24"),
        names,
        np.array(boxes, np.float64),
        scale=known.crop_scale,
        points=np.array(points, np.float64),
        landmarks=known,
    )


def _rows(file: Path, num_points: int) -> list[tuple[str, np.ndarray]]:
    found = []
    with file.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.reader(stream), 1):
            if number == 1 or not row:
                continue
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


def _images_of(root: Path, paths: list[str]) -> Path:
    """Return the folder that has the images.

    Raises:
        FileNotFoundError: naming one that is in none.
    """
    folders = [root / name for name in FOLDERS if (root / name).is_dir()]
    best = max(folders, key=lambda folder: sum((folder / path).is_file() for path in paths[:50]))
    if missing := [path for path in paths if not (best / path).is_file()]:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0]}{more} of the lists in {root} are not in {best}")
    return best
