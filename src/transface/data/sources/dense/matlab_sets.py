"""COFW and AFLW in their MATLAB files: 29 points with occlusion and images inside, 19 points with boxes and a list.

Shapes: n images, P points.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transface.data.crops.dense_set import DenseSet
from transface.data.crops.landmark_sets import LANDMARK_SETS, of_aflw_row, of_cofw_row
from transface.data.sources.dense.checks import taken
from transface.matlab_files import hdf5_file, is_hdf5, load_matlab

AFLW_TRAIN = 20_000  # the first of the release's permutation
COFW_FILES = (("train", "COFW_train_color.mat", "Tr"), ("test", "COFW_test_color.mat", "T"))


def read_cofw(root: str | Path) -> DenseSet:
    """Return COFW: COFW_train_color.mat and COFW_test_color.mat (MATLAB v7.3), which hold images and points.

    Raises:
        FileNotFoundError: neither file is there.
        ValueError: a file of another version, or without its variables.
    """
    root = Path(root)
    files = [(split, root / name, word) for split, name, word in COFW_FILES if (root / name).is_file()]
    if not files:
        raise FileNotFoundError(f"no COFW_train_color.mat or COFW_test_color.mat in {root}")
    splits: list[str] = []
    places: list[tuple[Path, str, int]] = []
    boxes, points, hidden = [], [], []
    for split, path, word in files:
        with hdf5_file(path) as file:
            rows = np.asarray(_variable(file, f"phis{word}", path))
            rows = rows.T if rows.shape[0] == 87 else rows
            images = _variable(file, f"Is{word}", path)
            if rows.ndim != 2 or rows.shape[1] != 87 or images.size != len(rows):
                raise ValueError(
                    f"{path}: phis{word} must be images x 87 (29 x, 29 y, 29 occlusions) for as many Is{word}, got"
                    f" {rows.shape} for {images.size}"
                )
        for number, row in enumerate(rows):
            box, own = of_cofw_row(row)
            splits.append(split)
            places.append((path, f"Is{word}", number))
            boxes.append(box)
            points.append(own)
            hidden.append(row[58:] > 0)
    known = LANDMARK_SETS["cofw"]
    return DenseSet(
        root,
        [f"{path.name}/{number}" for path, _, number in places],
        np.array(splits, dtype="<U16"),
        tuple(f"point_{number}" for number in range(known.num_points)),
        np.array(boxes, np.float64),
        scale=known.crop_scale,
        points=np.array(points),
        visible=~np.array(hidden),
        landmarks=known,
        encoded=_CellImages(places),
    )


class _CellImages:
    """The images of a cell array in MATLAB files, by number, as PNG."""

    def __init__(self, places: list[tuple[Path, str, int]]) -> None:
        self.places = places

    def __call__(self, index: int) -> bytes:
        path, variable, number = self.places[index]
        with hdf5_file(path) as file:
            pixels = np.asarray(file[np.asarray(file[variable]).ravel()[number]])
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[0] != 3) or pixels.dtype != np.uint8:
            raise ValueError(
                f"{path}: image {number} of {variable} must be (3, width, height) or (width, height) uint8, got"
                f" {pixels.shape} {pixels.dtype}"
            )
        # MATLAB's columns come first in HDF5: (colours, width, height), or (width, height) of a grey one.
        pixels = np.repeat(pixels.T[..., None], 3, -1) if pixels.ndim == 2 else pixels.transpose(2, 1, 0)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="PNG")
        return stream.getvalue()


def read_aflw(root: str | Path) -> DenseSet:
    """Return AFLW-19: AFLWinfo_release.mat beside data/flickr/ (or beside the images); the first 20,000 of its
    permutation are train, the rest is test; test_frontal is those of test all of whose points can be seen.

    Raises:
        FileNotFoundError: no AFLWinfo_release.mat.
        ValueError: a file without its variables, or a permutation that names no image.
    """
    root = Path(root)
    path = root / "AFLWinfo_release.mat"
    if not path.is_file():
        raise FileNotFoundError(f"no AFLWinfo_release.mat in {root}")
    info = _aflw_variables(path)
    count = len(info["bbox"])
    order = info["ra"].ravel().astype(np.int64) - 1  # MATLAB counts from 1
    if len(order) != count or not np.array_equal(np.sort(order), np.arange(count)):
        raise ValueError(f"{path}: ra must be a permutation of 1..{count}, got {len(order)} numbers")
    splits = np.full(count, "test", dtype="<U16")
    # A part of the set keeps the share of the published split.
    splits[order[: AFLW_TRAIN if count > AFLW_TRAIN else round(count * AFLW_TRAIN / 24_386)]] = "train"
    pairs = [of_aflw_row(box, row) for box, row in zip(info["bbox"], info["data"], strict=True)]
    known = LANDMARK_SETS["aflw"]
    visible = info["mask_new"] > 0
    whole = DenseSet(
        next((folder for folder in (root / "data" / "flickr", root / "data") if folder.is_dir()), root),
        info["nameList"],
        splits,
        tuple(f"point_{number}" for number in range(known.num_points)),
        np.array([box for box, _ in pairs], np.float64),
        scale=known.crop_scale,
        points=np.array([own for _, own in pairs]),
        visible=visible,
        landmarks=known,
    )
    frontal = np.flatnonzero((splits == "test") & visible.all(1))
    both = taken(whole, np.concatenate([np.arange(count), frontal]))
    return both._replace(splits=np.append(splits, np.full(len(frontal), "test_frontal")))


def _aflw_variables(path: Path) -> dict[str, Any]:
    """Return bbox (n, 4), data (n, 38), mask_new (n, 19), ra (n,), nameList (n,)."""
    keys = ("bbox", "data", "mask_new", "ra")
    try:
        if is_hdf5(path):
            with hdf5_file(path) as file:
                found = {key: np.asarray(_variable(file, key, path), np.float64).T for key in keys}
                cells = np.asarray(_variable(file, "nameList", path)).ravel()
                names = ["".join(map(chr, np.asarray(file[cell]).ravel().tolist())) for cell in cells]
        else:
            read = load_matlab(path)
            names = [str(np.asarray(cell).ravel()[0]) for cell in read["nameList"].ravel()]
            found = {key: np.asarray(read[key], np.float64) for key in keys}
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"{path} must hold bbox, data, mask_new, ra and nameList, as AFLW's release does: {error}"
        ) from None
    count = len(names)
    for key, width in (("bbox", 4), ("data", 38), ("mask_new", 19)):
        if found[key].shape != (count, width):
            raise ValueError(f"{path}: {key} must be {count} x {width}, got {found[key].shape}")
    return {**found, "nameList": [name.replace("\\", "/") for name in names]}


def _variable(file: Any, key: str, path: Path) -> NDArray[Any]:
    if key not in file:
        raise ValueError(f"{path} has no variable {key!r}: it has {', '.join(name for name in file if name[0] != '#')}")
    return file[key]
