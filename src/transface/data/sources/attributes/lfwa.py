"""LFWA: LFW's 13,143 photographs with forty attributes, in MATLAB v7.3 files (HDF5), read with h5py.

Train and test have 6,263 and 6,880 images; there is no val, open_attributes puts people of train aside. Shapes: n
images, A attributes.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.sources.attributes.attribute_set import TEST, TRAIN, AttributeSet, binary_labels
from transface.images.files import require_images
from transface.matlab_files import hdf5_file, is_hdf5

logger = logging.getLogger(__name__)

LABELS, SPLITS = "lfw_att_40.mat", "indices_train_test.mat"
FOLDERS = ("", "anno", "Anno")
IMAGE_FOLDERS = ("lfw", "lfw-deepfunneled", "lfw_deepfunneled", "images", "img", ".")


def is_lfwa(root: Path) -> bool:
    """Return whether a folder has LFWA's file of attributes."""
    return _file(root, LABELS) is not None


def read_lfwa(root: str | Path) -> AttributeSet:
    """Return the images of a folder with lfw_att_40.mat, indices_train_test.mat (either in it or in anno/) and LFW's
    folders of people.

    Raises:
        FileNotFoundError: a file or an image is missing.
        ValueError: a file is not of MATLAB v7.3, lacks a variable, or its attributes are not the forty in their order.
    """
    root = Path(root)
    labels, indices = (_require(root, name) for name in (LABELS, SPLITS))
    with _open(labels) as file:
        names = [_underscored(name) for name in _strings(file, "AttrName", labels)]
        paths = [path.replace("\\", "/") for path in _strings(file, "name", labels)]
        values = _matrix(file, "label", labels, shape=(len(paths), len(names)))
    if names != list(CELEBA_NAMES):
        place = next(
            (k for k, pair in enumerate(zip(names, CELEBA_NAMES, strict=False)) if pair[0] != pair[1]),
            min(len(names), len(CELEBA_NAMES)),
        )
        got = names[place] if place < len(names) else "nothing"
        raise ValueError(
            f"{labels}: attributes must stand in CelebA's order; attribute {place + 1} must be"
            f" {CELEBA_NAMES[min(place, 39)]}, got {got}"
        )
    return AttributeSet(
        _images_of(root, paths),
        paths,
        binary_labels(values, names, where=labels, rarer=True),
        _splits(indices, len(paths)),
        _people(paths),
    )


def _file(root: Path, name: str) -> Path | None:
    return next((root / folder / name for folder in FOLDERS if (root / folder / name).is_file()), None)


def _require(root: Path, name: str) -> Path:
    found = _file(root, name)
    if found is None:
        raise FileNotFoundError(f"no {name} in {root} or {root / 'anno'}: LFWA has it beside its photographs")
    return found


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    if not is_hdf5(path):
        head = path.read_bytes()[:20]
        kind = "a MATLAB file of version 5 or older" if head.startswith(b"MATLAB 5") else "no MATLAB v7.3 file"
        raise ValueError(f"{path} is {kind}: LFWA's files are v7.3 (HDF5); in MATLAB, save(..., '-v7.3') writes one")
    with hdf5_file(path) as file:
        yield file


def _dataset(file: Any, key: str, path: Path) -> Any:
    if key not in file:
        raise ValueError(
            f"{path} has no variable {key!r}: expected AttrName, label and name, or indices_img_train and"
            " indices_img_test"
        )
    return file[key]


def _strings(file: Any, key: str, path: Path) -> list[str]:
    """Return the strings of a cell array: HDF5 holds a reference to the character codes of each."""
    references = np.asarray(_dataset(file, key, path)).ravel()
    if references.dtype != object:
        raise ValueError(f"{path}: {key} must be a cell array of strings, got {references.dtype}")
    return ["".join(map(chr, np.asarray(file[reference]).ravel().tolist())) for reference in references]


def _matrix(file: Any, key: str, path: Path, *, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return a matrix of this shape: MATLAB's columns come first in HDF5, so it lies there transposed."""
    values = np.asarray(_dataset(file, key, path))
    if values.shape == shape[::-1]:
        values = values.T
    elif values.shape != shape:
        raise ValueError(f"{path}: {key} must be {shape[0]} x {shape[1]} as its names say, got {values.shape[::-1]}")
    if not np.array_equal(values, np.round(values)):
        raise ValueError(f"{path}: {key} must hold whole numbers")
    return values.astype(np.int64)


def _splits(path: Path, count: int) -> NDArray[np.int8]:
    splits = np.full(count, -1, dtype=np.int8)
    with _open(path) as file:
        for key, number in (("indices_img_train", TRAIN), ("indices_img_test", TEST)):
            places = np.asarray(_dataset(file, key, path)).ravel().astype(np.int64) - 1  # MATLAB counts from 1
            if len(places) and (places.min() < 0 or places.max() >= count):
                raise ValueError(
                    f"{path}: {key} must count the {count} images from 1, got"
                    f" {int(places.min()) + 1}..{int(places.max()) + 1}"
                )
            if (splits[places] >= 0).any():
                raise ValueError(f"{path}: image {int(places[splits[places] >= 0][0]) + 1} is in train and in test")
            splits[places] = number
    if (left := np.flatnonzero(splits < 0)).size:
        raise ValueError(
            f"{path}: {len(left)} images are neither in train nor in test, image {int(left[0]) + 1} the first"
        )
    return splits


def _people(paths: list[str]) -> NDArray[np.int64]:
    """Return a number for each person: the folder is their name, and people keep their order of names."""
    folders = [path.rsplit("/", 1)[0] for path in paths]
    number = {name: place for place, name in enumerate(sorted(set(folders)))}
    return np.array([number[folder] for folder in folders], dtype=np.int64)


def _underscored(name: str) -> str:
    return "_".join(name.split())


def _images_of(root: Path, paths: list[str]) -> Path:
    folders = [root / name for name in IMAGE_FOLDERS if (root / name).is_dir()]
    best = max(folders, key=lambda folder: sum((folder / path).is_file() for path in paths[:100]))
    require_images(best, paths, source=f"{root}'s list", hint="LFWA needs LFW's photographs beside its lists")
    return best
