"""WFLW as its authors publish it: a list a split, whose lines hold 98 points, a box, six flags and an image.

Images of the test list count in the subsets of their flags too, as HRNet lists these. Shapes: n images, P = 98 points.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transface.data.crops.dense_set import DenseSet
from transface.data.crops.landmark_sets import LANDMARK_SETS, square_around
from transface.images.files import list_lines

NUM_POINTS = 98
NUM_VALUES = 2 * NUM_POINTS + 4 + 6  # before the image's name, which may hold blanks
SUBSETS = ("largepose", "expression", "illumination", "makeup", "occlusion", "blur")  # in the order of the flags
NAMES = "list_98pt_rect_attr_*.txt"
LIST_FOLDERS = (
    "WFLW_annotations/list_98pt_rect_attr_train_test",
    "list_98pt_rect_attr_train_test",
    "WFLW_annotations",
    ".",
)
IMAGE_FOLDERS = ("WFLW_images", "images", ".")


def wflw_lists(root: str | Path) -> list[Path]:
    """Return the lists of WFLW's authors in a folder, or none."""
    return next((found for folder in LIST_FOLDERS if (found := sorted(Path(root, folder).glob(NAMES)))), [])


def read_wflw_lists(root: str | Path) -> DenseSet:
    """Return the faces of list_98pt_rect_attr_{train,test}.txt; several faces of a photograph are rows of their own.

    Raises:
        FileNotFoundError: no list.
        ValueError: no face, a line with another number of values, one that is no number, or a flag that is not 0 or 1.
    """
    root = Path(root)
    lists = wflw_lists(root)
    if not lists:
        raise FileNotFoundError(f"no {NAMES} in {root}: WFLW_annotations holds them")
    paths: list[str] = []
    splits: list[str] = []
    rows: list[NDArray[np.float64]] = []
    for file in lists:
        split = file.stem.rpartition("_")[2]
        for number, line in enumerate(list_lines(file), 1):
            if not line.strip():
                continue
            name, values = _row(line, f"{file}: line {number}")
            hard = [f"test_{subset}" for subset, flag in zip(SUBSETS, values[-6:], strict=True) if flag]
            for own in (split, *(hard if split == "test" else ())):
                paths.append(name)
                splits.append(own)
                rows.append(values)
    if not paths:
        raise ValueError(f"{root}: its lists, {lists[0].name} the first, name no image")
    folders = [root / name for name in IMAGE_FOLDERS if (root / name).is_dir()]
    values = np.array(rows)
    return DenseSet(
        max(folders, key=lambda folder: sum((folder / path).is_file() for path in paths[:50])),
        paths,
        np.array(splits, dtype="<U24"),
        tuple(f"point_{number}" for number in range(NUM_POINTS)),
        np.array([square_around(row[2 * NUM_POINTS :][:4].reshape(2, 2)) for row in values]),
        scale=LANDMARK_SETS["wflw"].crop_scale,
        points=values[:, : 2 * NUM_POINTS].reshape(-1, NUM_POINTS, 2),
        landmarks=LANDMARK_SETS["wflw"],
    )


def _row(line: str, where: str) -> tuple[str, NDArray[np.float64]]:
    """Return the image of a line and its numbers (206,)."""
    cells = line.split(maxsplit=NUM_VALUES)
    if len(cells) != NUM_VALUES + 1:
        raise ValueError(
            f"{where} must hold {2 * NUM_POINTS} numbers of points, 4 of the box, 6 flags and an image, got"
            f" {len(cells)} values"
        )
    try:
        values = np.array([float(cell) for cell in cells[:-1]])
    except ValueError:
        raise ValueError(f"{where} holds something that is no number: {line[:80]!r}") from None
    if not np.isin(values[-6:], (0, 1)).all():
        raise ValueError(f"{where}: its six flags must be 0 or 1, got {' '.join(cells[-7:-1])}")
    return cells[-1].strip(), values
