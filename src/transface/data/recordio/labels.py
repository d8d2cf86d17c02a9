"""The label of every image of a pack: read from the headers, a part of the file at a time; of a large file kept, so
that it is read once.

Shapes: n images.
"""

import logging
from pathlib import Path
from typing import Protocol

import numpy as np

from transface.artifacts import kept_path, writing_file
from transface.data.recordio.index import IntArray
from transface.data.recordio.reader import RecordReader

logger = logging.getLogger(__name__)

KEPT_FROM = 256 << 20  # bytes of a .rec
AT_ONCE = 1 << 20  # headers
LARGEST = 1 << 31


class Places(Protocol):
    """Where in the index the images are: n places, handed out by runs."""

    def __len__(self) -> int: ...

    def run(self, start: int, stop: int) -> IntArray: ...


def kept_labels(reader: RecordReader, places: Places) -> IntArray:
    """Return the labels (n,) of the images at `places`, -1 for a record that is broken or whose label is no whole
    number from 0.
    """
    if reader.num_bytes < KEPT_FROM:
        return read_labels(reader, places)
    files = [reader.path, reader.path_idx] if reader.path_idx.is_file() else [reader.path]
    kept_at = kept_path("labels", files, ending=".npy")
    try:
        labels: IntArray = np.load(kept_at, mmap_mode="r", allow_pickle=False)
        if labels.shape == (len(places),) and labels.dtype == np.int64:
            return labels
    except (OSError, ValueError, EOFError):
        pass
    logger.warning(
        "reading the labels of %d images of %s, once: they are kept in %s", len(places), reader.path, kept_at.parent
    )
    labels = read_labels(reader, places)
    return _keep(labels, kept_at)


def read_labels(reader: RecordReader, places: Places) -> IntArray:
    """Return the labels as `kept_labels` does, from the file itself."""
    labels = np.empty(len(places), dtype=np.int64)
    for start in range(0, len(places), AT_ONCE):
        found = reader.headers(places.run(start, start + AT_ONCE), mark_broken=True).label
        good = (found >= 0) & (found < LARGEST) & (found == np.floor(found))
        labels[start : start + len(found)] = np.where(good, found, -1)
    return labels


def _keep(labels: IntArray, kept_at: Path) -> IntArray:
    try:
        with writing_file(kept_at) as file:
            np.save(file, labels)
        return np.load(kept_at, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        logger.warning("the labels cannot be kept at %s (%s): TRANSFACE_CACHE names another folder", kept_at, error)
        return labels
