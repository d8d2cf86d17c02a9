"""Attributes in the pickle that Faceptor was trained from: label.pkl beside data/, with names, labels and splits.

Nothing in the pickle is run but the making of plain values and NumPy arrays. Shapes: n images, A attributes.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from transface.data.labels.attributes import AttributeLabels
from transface.data.sources.attributes.attribute_set import TEST, TRAIN, VAL, AttributeSet

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
    """Return the images of a folder with label.pkl: {image_name, attr (n, A) of 0, 1 and -1 for unknown, attr_name,
    partition {train, val, trainval, test: places}}.

    Raises:
        FileNotFoundError: an image that is named is not there.
        ValueError: a pickle of another form.
    """
    root = Path(root)
    path = root / FILE
    try:
        said = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
        names = [str(name) for name in said["image_name"]]
        values = np.asarray(said["attr"], dtype=np.int64)
        labels = [str(name) for name in said["attr_name"]]
        parts = {str(key): np.asarray(rows, dtype=np.int64) for key, rows in said["partition"].items()}
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} must be a pickle of {', '.join(KEYS)} in plain values: {error}") from None
    if values.shape != (len(names), len(labels)) or not np.isin(values, (-1, 0, 1)).all():
        raise ValueError(
            f"{path}: attr must be {len(names)} x {len(labels)} of -1 (unknown), 0 and 1, got {values.shape} up to"
            f" {values.max(initial=0)}"
        )
    splits = np.full(len(names), TEST, dtype=np.int8)
    for word, number in (("trainval", TRAIN), ("train", TRAIN), ("val", VAL), ("test", TEST)):
        rows = parts.get(word, np.zeros(0, dtype=np.int64))
        if len(rows) and (rows.min() < 0 or rows.max() >= len(names)):
            raise ValueError(f"{path}: partition {word} names image {int(rows.max())}, and there are {len(names)}")
        splits[rows] = number
    folder = root / "data" if (root / "data").is_dir() else root
    if missing := [name for name in names if not (folder / name).is_file()]:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0]}{more} of {path} are not in {folder}")
    known = values >= 0
    return AttributeSet(folder, names, AttributeLabels(np.where(known, values, 0), labels, known=known), splits, None)
