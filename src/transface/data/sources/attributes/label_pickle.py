"""Attributes in the pickle that Faceptor was trained from: label.pkl beside data/, with names, labels and splits.

Nothing in the pickle is run but the making of plain values and NumPy arrays. Shapes: n images, A attributes.
"""

import io
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.data.sources.attributes.attribute_set import TEST, TRAIN, VAL, AttributeSet, binary_labels
from transface.images.files import require_images
from transface.told_once import warn_once

logger = logging.getLogger(__name__)

FILE = "label.pkl"
KEYS = ("image_name", "attr", "attr_name", "partition")
ALLOWED = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only NumPy arrays and plain values are read")
        return super().find_class(module, name)


def is_label_pickle(root: Path) -> bool:
    """Return whether a folder has a label.pkl."""
    return (root / FILE).is_file()


def read_label_pickle(root: str | Path) -> AttributeSet:
    """Return the images of a folder with label.pkl: {image_name, attr (n, A) of 0, 1 and -1 for unknown (or, without a
    0, of -1 for no), attr_name, partition {train, val, trainval, test: places}}; images of no part are left out.

    Raises:
        FileNotFoundError: an image that is named is not there.
        ValueError: a pickle of another form.
    """
    root = Path(root)
    path = root / FILE
    try:
        said = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
        names = [str(name) for name in said["image_name"]]
        given = np.asarray(said["attr"], dtype=np.float64)
        labels = [str(name) for name in said["attr_name"]]
        parts = {str(key): np.asarray(rows, dtype=np.int64) for key, rows in said["partition"].items()}
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} must be a pickle of {', '.join(KEYS)} in plain values: {error}") from None
    if given.shape != (len(names), len(labels)) or not np.isin(given, (-1, 0, 1)).all():
        odd = given[~np.isin(given, (-1, 0, 1))]
        raise ValueError(
            f"{path}: attr must be {len(names)} x {len(labels)} of -1 (unknown), 0 and 1, got {given.shape}"
            + (f" with {odd[0]:g}" if len(odd) else "")
        )
    splits = _splits(parts, len(names), path)
    folder = root / "data" if (root / "data").is_dir() else root
    require_images(folder, names, source=path)
    unknown = -1 if (given == 0).any() else None  # without any 0, -1 is CelebA's own no
    found = AttributeSet(
        folder, names, binary_labels(given.astype(np.int64), labels, where=path, unknown=unknown), splits, None
    )
    if not len(left := np.flatnonzero(splits < 0)):
        return found
    warn_once(logger, "%s: its partition leaves out %d images, %s the first", path, len(left), names[left[0]])
    return found.taken(np.flatnonzero(splits >= 0))


def _splits(parts: Mapping[str, NDArray[np.int64]], count: int, path: Path) -> NDArray[np.int8]:
    """Return the split (count,) of every image, -1 where no part names it.

    Raises:
        ValueError: for a place of no image, or one in two parts.
    """
    splits = np.full(count, -1, dtype=np.int8)
    words = {TRAIN: "train", VAL: "val", TEST: "test"}
    for word, number in (("train", TRAIN), ("val", VAL), ("test", TEST), ("trainval", TRAIN)):
        rows = parts.get(word, np.zeros(0, dtype=np.int64))
        if len(rows) and (rows.min() < 0 or rows.max() >= count):
            raise ValueError(f"{path}: partition {word} names image {int(rows.max())}, and there are {count}")
        free = splits[rows] < 0
        others = rows[~free & (splits[rows] != number)]
        if word == "trainval":
            others = others[splits[others] == TEST]
        if len(others):
            raise ValueError(
                f"{path}: image {int(others[0])} is in {words[int(splits[others[0]])]} and {word} of its partition"
            )
        splits[rows[free]] = number
    return splits
