"""Reads InsightFace packs: a folder of train.rec, train.idx and property, images of people with their labels.

Record 0 of most packs is a header with two labels: images are keys 1..first-1, and the keys from `first` on describe
identities. Packs without it are lists of images. Shapes: B faces.
"""

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from transface.data.batches import EncodedFaces, FaceBatch
from transface.data.loaders import face_batch
from transface.data.recordio.headers import unpack_record
from transface.data.recordio.index import IntArray
from transface.data.recordio.labels import kept_labels
from transface.data.recordio.reader import Record, RecordError, RecordReader
from transface.images.fit import Fit, check_fit, placement

READ_AT_OPENING = 256 << 20  # bytes of a .rec up to which all labels are read and checked when it is opened
EXACT_FLOAT32 = 1 << 24  # whole numbers up to here are exact in the float32 of a label


class PackProperty(NamedTuple):
    """What the file `property` says."""

    num_identities: int
    image_size: tuple[int, int]


def read_property(path: Path) -> PackProperty:
    """Return the content of a `property` file: one line, num_identities,height,width.

    Raises:
        ValueError: if it is anything else.
    """
    text = path.read_bytes()[:200].decode("ascii", errors="replace").strip()
    words = text.split(",")
    if len(words) != 3 or not all(
        word.strip().isascii() and word.strip().isdigit() and len(word) < 12 for word in words
    ):
        raise ValueError(f"{path} must be 'num_identities,height,width', got {text[:60]!r}")
    num_identities, height, width = (int(word) for word in words)
    if min(num_identities, height, width) < 1 or num_identities > EXACT_FLOAT32:
        raise ValueError(f"{path} must hold numbers above 0, and at most {EXACT_FLOAT32} identities, got {text!r}")
    return PackProperty(num_identities, (height, width))


class IdentityPack:
    """The images of a pack with their labels; a map-style dataset that reads and decodes a batch in one call.

    Its batches are FaceBatch, collated: a DataLoader of it wants collate_fn=loaders.collate_identity.

    Args:
        root: the pack's folder, or a .rec file itself.
        image_size: the (H, W) of every image.
        fit: what happens to images of another size.
        num_identities: how many people; by default from `property`, or one above the largest label where there is none.
        on_bad_record: "raise": all labels of a file that is quickly read are checked when it is opened; "skip": the
            label of a record that is broken or labelled out of range is -1, and only reading that record raises.

    Raises:
        FileNotFoundError: no such folder, or no train.rec in it.
        ValueError: no images; property, header or labels that contradict each other (RecordError where the file itself
            is broken).
    """

    def __init__(
        self,
        root: str | Path,
        *,
        image_size: tuple[int, int] = (112, 112),
        fit: Fit = "refuse",
        num_identities: int | None = None,
        on_bad_record: Literal["raise", "skip"] = "raise",
    ) -> None:
        path_rec = find_rec(Path(root))
        self.root = path_rec.parent
        self.image_size = image_size
        self.fit = check_fit(fit)
        self.reader = RecordReader(path_rec)
        path_property = self.root / "property"
        if path_property.is_file():
            stated = read_property(path_property)
            placement(stated.image_size, (image_size[0], image_size[1]), fit=fit, name=f"the images of {path_property}")
            num_identities = stated.num_identities if num_identities is None else num_identities
        self._positions = image_places(self.reader)
        if not len(self):
            raise ValueError(f"{path_rec} holds no images")
        self._labels: IntArray | None = None
        self._skips = on_bad_record == "skip"
        self._stated = num_identities
        # Every label stands beside its image: reading them all is reading the file, which takes minutes where it has 90
        # GB.
        if num_identities is None or not (self._skips or self.reader.num_bytes > READ_AT_OPENING):
            self._labels = self._read_labels()
        self.num_identities = max(int(self.labels.max()) + 1, 1) if num_identities is None else num_identities

    def _read_labels(self) -> IntArray:
        """Return all labels, -1 for a record that cannot be used."""
        labels = kept_labels(self.reader, self._positions)
        limit = EXACT_FLOAT32 if self._stated is None else self._stated
        wrong = np.flatnonzero((labels < 0) | (labels >= limit))
        if not len(wrong):
            return labels
        if not self._skips:
            key, label = (
                self.key(int(wrong[0])),
                np.ravel(self.record(int(wrong[0])).header.label)[0],
            )  # or raises, if it is broken
            raise ValueError(
                f"{self.reader.path}: key {key} has label {label:g}, and labels are whole numbers in 0..{limit - 1} "
                f"({len(wrong)} such records); 'transface pack check' lists them"
            )
        labels = labels.copy()
        labels[wrong] = -1
        return labels

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_labels": None}  # a worker finds each label beside its image

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def labels(self) -> IntArray:
        """The label of every image (n,), read once from the headers; -1 for a record to be skipped."""
        if self._labels is None:
            self._labels = self._read_labels()
        return self._labels

    def key(self, index: int) -> int:
        """Return the key of the image at `index`."""
        return int(self.reader.index.key_at(self._positions[index]))

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        return f"of key {self.key(index)} in {self.reader.path}"

    def record(self, index: int) -> Record:
        """Return header and payload of the image at `index`."""
        position = self._positions[index]
        return unpack_record(
            self.reader.raw_at(position), where=f"{self.reader.path}: key {self.reader.index.key_at(position)}"
        )

    def encoded(self, index: int) -> bytes:
        """Return the JPEG or PNG bytes of the image at `index`."""
        return self.record(index).payload

    def read_encoded(self, indices: Sequence[int]) -> EncodedFaces:
        """Return the images at `indices`, undecoded, with their labels.

        Raises:
            RecordError: naming the key and offset of a record that is broken or labelled out of range.
        """
        places = self._positions.places(indices)
        try:
            records = [unpack_record(raw) for raw in self.reader.raw_many(places)]
        except RecordError:
            records = [self.record(index) for index in indices]  # raises it again, with the key in it
        labels = np.array([self._label(record, index) for record, index in zip(records, indices, strict=True)])
        return EncodedFaces([record.payload for record in records], labels)

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, decoded, with their labels.

        Raises:
            ImageError: naming the key of an image that cannot be decoded or has another size.
            RecordError: as `read_encoded`.
        """
        return face_batch(self.read_encoded(indices), indices=indices, source=self)

    def __getitem__(self, index: int) -> FaceBatch:
        return self.__getitems__([operator.index(index)])

    def _label(self, record: Record, index: int) -> int:
        label = record.header.label if record.header.flag == 0 else record.header.label[0]  # type: ignore[index]
        if not (0 <= label < self.num_identities and label == int(label)):
            raise RecordError(
                f"{self.reader.path}: key {self.key(index)} has label {label:g}, and labels are whole numbers in"
                f" 0..{self.num_identities - 1}"
            )
        return int(label)


def find_rec(root: Path) -> Path:
    """Return the .rec file that `root` is, or train.rec in that folder.

    Raises:
        FileNotFoundError: saying what is there instead.
    """
    if root.is_file():
        return root
    if not root.is_dir():
        raise FileNotFoundError(f"no data folder {root}")
    if (root / "train.rec").is_file():
        return root / "train.rec"
    raise FileNotFoundError(f"no train.rec in {root}, which holds {listed(root)}")


def listed(folder: Path) -> str:
    """Return the first few names in a folder, for an error."""
    there = sorted(entry.name for entry in folder.iterdir())
    return (", ".join(there[:5]) + (", ..." if len(there) > 5 else "")) if there else "nothing"


class Positions:
    """Places in the index, as a range where they are one (no array of millions), else as an array."""

    def __init__(self, places: range | IntArray) -> None:
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < len(self._places):
            raise IndexError(f"no image {index} among {len(self._places)}")
        return int(self._places[index])

    def places(self, indices: Sequence[int]) -> IntArray:
        """Return the places (m,) of the images at `indices`."""
        asked = np.asarray(indices, dtype=np.int64)
        if len(asked) and not (asked.min() >= 0 and asked.max() < len(self)):
            raise IndexError(f"no image {int(asked.min())} or {int(asked.max())} among {len(self)}")
        return asked + self._places.start if isinstance(self._places, range) else self._places[asked]

    def run(self, start: int, stop: int) -> IntArray:
        """Return the places of the images start..stop - 1."""
        some = self._places[start:stop]
        return np.arange(some.start, some.stop, dtype=np.int64) if isinstance(some, range) else some

    def array(self) -> IntArray:
        """Return all places (n,)."""
        return self.run(0, len(self))


def image_places(reader: RecordReader) -> Positions:
    """Return where in the index the images are: after the header record where there is one, else all records.

    Raises:
        RecordError: for a header record that contradicts the index.
    """
    if not len(reader) or 0 not in reader:
        return Positions(range(len(reader)))
    header, payload = reader[0]
    if header.flag != 2 or payload:
        return Positions(range(len(reader)))
    assert isinstance(header.label, np.ndarray)
    end = _end_of_images(reader, header.label)
    if reader.index.first_key == 0 and reader.index.consecutive:
        if end > len(reader):
            raise RecordError(
                f"{reader.path}: its header speaks of images up to key {end - 1}, the index ends at {len(reader) - 1}"
            )
        return Positions(range(1, end))
    keys = reader.keys()
    places = np.flatnonzero((keys > 0) & (keys < end))
    return Positions(places[np.argsort(keys[places], kind="stable")])


def _end_of_images(reader: RecordReader, label: np.ndarray) -> int:
    first, last = float(label[0]), float(label[1])
    if not (1 <= first <= last < 1 << 40) or first != int(first):
        raise RecordError(
            f"{reader.path}: the header record must hold [images + 1, images + 1 + identities], got [{first:g},"
            f" {last:g}]"
        )
    end = int(first)
    if end < EXACT_FLOAT32:
        return end
    # float32 rounds such a number: the first record without a payload near it is where the identities begin.
    for candidate in range(end - 4, end + 5):
        if candidate in reader and not reader[candidate].payload:
            return candidate
    return end
