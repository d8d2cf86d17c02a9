"""Plain RecordIO with a .lst file beside it: records by key, labels from the list.

A line of a .lst file, as mxnet's im2rec writes it: key, one or more labels, path, separated by tabs. Shapes: n images.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from transface.data.batches import EncodedFaces, FaceBatch
from transface.data.loaders import face_batch
from transface.data.recordio.headers import unpack_record
from transface.data.recordio.index import IntArray
from transface.data.recordio.reader import RecordReader
from transface.data.sources.sparse_labels import count_anew
from transface.images.fit import Fit, check_fit


class ListLine(NamedTuple):
    """A line of a .lst file; `label` is the first of its labels."""

    key: int
    label: float
    path: str


def read_list(path: str | Path) -> list[ListLine]:
    """Return the lines of a .lst file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: naming the first line that is not key, labels, path.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no list {path}")
    lines = []
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                lines.append(_parse(line.rstrip("\r\n"), f"{path}: line {number}"))
    return lines


def _parse(line: str, where: str) -> ListLine:
    words = line.split("\t")
    try:
        key = int(words[0])
        labels = [float(word) for word in words[1:-1]]
    except ValueError:
        key, labels = -1, []
    if not (0 <= key < 1 << 62) or not labels:
        raise ValueError(f"{where} must be 'key<TAB>label<TAB>path', got {line[:80]!r}")
    return ListLine(key, labels[0], words[-1])


class RecordList:
    """Images of a .rec file with the labels of its .lst; a map-style data set that reads and decodes a batch in one
    call.

    Args:
        path_rec: the .rec file.
        path_lst: its list; by default the same name with .lst.
        image_size: (height, width) of every image.
        fit: what happens to images of another size.

    Raises:
        FileNotFoundError: either file is missing.
        ValueError: a key listed twice or absent from the index, a label that is no whole number from 0.
    """

    def __init__(
        self,
        path_rec: str | Path,
        path_lst: str | Path | None = None,
        *,
        image_size: tuple[int, int] = (112, 112),
        fit: Fit = "refuse",
    ) -> None:
        path_lst = Path(path_rec).with_suffix(".lst") if path_lst is None else Path(path_lst)
        lines = read_list(path_lst)
        if not lines:
            raise ValueError(f"{path_lst} lists no images")
        self.reader = RecordReader(path_rec)
        self.image_size = image_size
        self.fit = check_fit(fit)
        self.keys = np.array([line.key for line in lines], dtype=np.int64)
        labels = np.array([line.label for line in lines])
        if len(wrong := np.flatnonzero(~((labels >= 0) & (labels < 1 << 31) & (labels == np.floor(labels))))):
            raise ValueError(
                f"{path_lst}: key {self.keys[wrong[0]]} has label {labels[wrong[0]]:g}, and labels are whole numbers"
                " from 0"
            )
        if len(np.unique(self.keys)) < len(self.keys):
            values, counts = np.unique(self.keys, return_counts=True)
            raise ValueError(f"{path_lst}: key {values[counts > 1][0]} is listed twice")
        self._positions = self.reader.index.positions(self.keys)
        if len(absent := np.flatnonzero(self._positions < 0)):
            raise ValueError(
                f"{path_lst}: key {self.keys[absent[0]]} is not in {self.reader.path_idx} ({len(absent)} such keys)"
            )
        counted = count_anew(labels.astype(np.int64), source=path_lst)
        self.labels: IntArray = counted.labels
        self.people = counted.names
        self.num_identities = int(self.labels.max()) + 1

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        return f"of key {self.keys[index]} in {self.reader.path}"

    def encoded(self, index: int) -> bytes:
        """Return the JPEG or PNG bytes of the image at `index`."""
        return self.reader[int(self.keys[index])].payload

    def read_encoded(self, indices: Sequence[int]) -> EncodedFaces:
        """Return the images at `indices`, undecoded, with their labels."""
        chosen = np.asarray(indices, dtype=np.int64)
        raws = self.reader.raw_many(self._positions[chosen])
        payloads = [
            unpack_record(raw, where=self.name(int(index))).payload for raw, index in zip(raws, chosen, strict=True)
        ]
        return EncodedFaces(payloads, self.labels[chosen])

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, decoded, with their labels."""
        return face_batch(self.read_encoded(indices), indices=indices, source=self)
