"""Faces in image files: a folder a person, or a CSV or Parquet list of paths and labels.

A list has the columns `path` and `label`. Labels that are whole numbers are taken as they are, others are names of
people, numbered in sorted order. Paths are relative to the list's folder. Shapes: n images.
"""

import csv
import logging
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from transface.data.batches import EncodedFaces, FaceBatch
from transface.data.lists.alike_names import tell_alike
from transface.data.lists.folder_people import check_people
from transface.data.lists.repeated_names import first_of_each, name_hash
from transface.data.loaders import face_batch
from transface.data.recordio.index import IntArray
from transface.data.sources.sparse_labels import count_anew
from transface.data.sources.unnamed_images import tell_unnamed
from transface.images.files import IMAGE_SUFFIXES, below, files_below, is_image_name, is_other_picture, log_unread
from transface.images.fit import Fit, check_fit
from transface.told_once import warn_once

logger = logging.getLogger(__name__)

PATH_COLUMNS = ("path", "image", "file", "filename")
MOST_LOOKED_FOR = 1_000_000  # images of a list whose folders are looked through for others
LABEL_COLUMNS = ("label", "identity", "person", "id")
LARGEST_FILE = 64 << 20
WHOLE_NUMBER = re.compile(
    r"[0-9]{1,9}(\.0{0,9})?"
)  # 3, and 3.0 as tables write a column of numbers in which one was missing


class PathTable:
    """Many paths as one block of bytes: a list of strings of millions would be copied page by page into each worker."""

    def __init__(self, paths: Iterable[str]) -> None:
        text, ends = bytearray(), array("q", [0])
        for path in paths:
            text += path.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        self._text = np.frombuffer(bytes(text), dtype=np.uint8)
        self._ends = np.frombuffer(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"no path {index} among {len(self)}")
        return self._text[self._ends[index] : self._ends[index + 1]].tobytes().decode("utf-8", "surrogateescape")


class ImageFiles:
    """Images in files: what is read of them, without any label.

    Args:
        root: the folder that the paths are relative to.
        paths: n paths.
        image_size: (height, width) of every image.
        fit: what happens to images of another size.

    Raises:
        ValueError: no images.
    """

    def __init__(
        self, root: str | Path, paths: PathTable, *, image_size: tuple[int, int] = (112, 112), fit: Fit = "refuse"
    ) -> None:
        if not len(paths):
            raise ValueError(f"{root} holds no images ({', '.join(IMAGE_SUFFIXES)})")
        self.root = Path(root)
        self.paths = paths
        self.image_size = image_size
        self.fit = check_fit(fit)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        return str(self.root / self.paths[index])

    def encoded(self, index: int) -> bytes:
        """Return the bytes of the file at `index`.

        Raises:
            ValueError: if there is none, or it is larger than any face.
        """
        path = self.root / self.paths[index]
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise ValueError(f"image {path} cannot be read: {error.strerror}") from None
        if len(data) > LARGEST_FILE:
            raise ValueError(f"image {path} is larger than {LARGEST_FILE >> 20} MiB")
        return data


class FileFaces(ImageFiles):
    """Images in files with the person on each; a map-style data set that reads and decodes a batch in one call.

    Args:
        root, paths, image_size, fit: as ImageFiles takes them.
        labels: (n,) int64.
        people: what each label is called, where they have names.
        num_identities: by default one above the largest label.

    Raises:
        ValueError: no images, or a label out of range.
    """

    def __init__(
        self,
        root: str | Path,
        paths: PathTable,
        *,
        labels: IntArray,
        people: Sequence[str] = (),
        num_identities: int | None = None,
        image_size: tuple[int, int] = (112, 112),
        fit: Fit = "refuse",
    ) -> None:
        super().__init__(root, paths, image_size=image_size, fit=fit)
        limit = int(labels.max()) + 1 if num_identities is None else num_identities
        if len(wrong := np.flatnonzero((labels < 0) | (labels >= limit))):
            raise ValueError(f"{root}: {paths[int(wrong[0])]} has label {labels[wrong[0]]}, outside 0..{limit - 1}")
        self.labels = labels
        self.people = list(people)
        self.num_identities = limit

    def read_encoded(self, indices: Sequence[int]) -> EncodedFaces:
        """Return the images at `indices`, undecoded, with their labels."""
        return EncodedFaces(
            [self.encoded(index) for index in indices], self.labels[np.asarray(indices, dtype=np.int64)]
        )

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, decoded, with their labels."""
        return face_batch(self.read_encoded(indices), indices=indices, source=self)


def open_folder(root: str | Path, *, image_size: tuple[int, int] = (112, 112), fit: Fit = "refuse") -> FileFaces:
    """Return the images of a folder with one folder a person; people and images in sorted order.

    A person's images may lie in folders inside theirs. Names that begin with a dot are passed over.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no images in its folders.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no image folder {root}")
    entries = sorted(entry.name for entry in os.scandir(root) if not entry.name.startswith("."))
    people = [name for name in entries if (root / name).is_dir()]
    loose = [name for name in entries if _is_image(name) and (root / name).is_file()]
    counts: dict[str, int] = {}
    unread: list[str] = []
    paths = PathTable(_paths_of(root, people, counts, unread))
    log_unread(root, unread)
    if loose:
        where = f"{len(loose)} images, {loose[0]} the first, lie in {root} itself and not in the folder of a person"
        if not counts:
            raise ValueError(f"{where}: expected one folder a person")
        warn_once(logger, "%s: they are left out", where)
    check_people(root, counts, paths)
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), list(counts.values()))
    return FileFaces(root, paths, labels=labels, people=list(counts), image_size=image_size, fit=fit)


def _paths_of(root: Path, people: Iterable[str], counts: dict[str, int], unread: list[str]) -> Iterator[str]:
    """Yield the paths of all images, and enter into `counts` how many each person has, into `unread` the pictures of
    other kinds.
    """
    for person in people:
        below = list(files_below(root / person))
        files = sorted(name for name in below if is_image_name(name))
        unread += (f"{person}/{name}" for name in below if is_other_picture(name))
        if files:
            counts[person] = len(files)
        yield from (f"{person}/{file}" for file in files)


def _is_image(name: str) -> bool:
    return is_image_name(name) and not name.startswith(".")


def open_list(
    path: str | Path,
    *,
    root: str | Path | None = None,
    image_size: tuple[int, int] = (112, 112),
    fit: Fit = "refuse",
) -> FileFaces:
    """Return the images of a CSV or Parquet list (columns path, label), relative to `root` (default: the list's
    folder). An image that it names again counts once.

    Raises:
        FileNotFoundError: no such list.
        ValueError: columns missing, a line cut short, labels that are partly numbers and partly names, an image under
            two labels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no list {path}")
    met = _Met({}, array("q"), array("q"))
    home = path.parent if root is None else Path(root)
    paths = PathTable(below(home, name, source=path) for name in _keep_label(_read_rows(path), met))
    if not len(paths):
        raise ValueError(f"{path} holds no images: no lines below its header")
    paths, rows = _once_each(paths, met, path)
    if len(paths) <= MOST_LOOKED_FOR:
        tell_unnamed(path, home, (paths[place] for place in range(len(paths))))
    numbered = _number(list(met.places), rows, path)
    tell_alike(numbered.people, "people", source=path)
    return FileFaces(
        home,
        paths,
        labels=numbered.labels,
        people=numbered.people,
        image_size=image_size,
        fit=fit,
    )


class _Row(NamedTuple):
    path: str
    label: str


class _Met(NamedTuple):
    """The labels of a list: each once, in the order they were met, which of them every row has, and a hash of every
    path.
    """

    places: dict[str, int]
    rows: "array[int]"
    hashes: "array[int]"


def _once_each(paths: PathTable, met: _Met, path: Path) -> tuple[PathTable, IntArray]:
    """Return the paths of a list and the places of their labels, each image once.

    Raises:
        ValueError: for an image under two labels.
    """
    rows = np.frombuffer(met.rows, dtype=np.int64)
    labels = list(met.places)
    hashes = np.frombuffer(met.hashes, dtype=np.int64)
    kept = first_of_each(paths, [rows], where=path, hashes=hashes, words=lambda place: labels[rows[place]])
    if len(kept) < len(paths):
        paths, rows = PathTable(paths[place] for place in kept.tolist()), rows[kept]
    return paths, rows


def _keep_label(rows: Iterable[_Row], met: _Met) -> Iterator[str]:
    for row in rows:
        met.rows.append(met.places.setdefault(row.label, len(met.places)))
        met.hashes.append(name_hash(row.path))
        yield row.path


def _read_rows(path: Path) -> Iterator[_Row]:
    if path.suffix.lower() == ".parquet":
        yield from _read_parquet(path)
        return
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file)
        try:
            names = next(rows, [])
            place_path, place_label = _columns(names, path)
            for row in rows:
                if not row:
                    continue
                if len(row) != len(names) or not row[place_path] or not row[place_label]:
                    raise ValueError(
                        f"{path}: line {rows.line_num} must have the {len(names)} columns {','.join(names)}, got"
                        f" {row!r:.80}"
                    )
                yield _Row(row[place_path], row[place_label])
        except csv.Error as error:
            raise ValueError(f"{path}: line {rows.line_num}: {error}") from None


def _columns(names: Sequence[str], path: Path) -> tuple[int, int]:
    lower = [name.strip().lower() for name in names]
    places = [
        next((lower.index(name) for name in known if name in lower), -1) for known in (PATH_COLUMNS, LABEL_COLUMNS)
    ]
    if min(places) < 0:
        raise ValueError(f"{path}: its first line must name the columns path and label, got {','.join(names)[:80]!r}")
    return places[0], places[1]


def _read_parquet(path: Path) -> Iterator[_Row]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise ValueError(f"{path}: reading Parquet needs pyarrow; install it, or give the list as CSV") from None
    try:
        file = parquet.ParquetFile(path)
        place_path, place_label = _columns(file.schema_arrow.names, path)
        for batch in file.iter_batches(
            columns=[file.schema_arrow.names[place_path], file.schema_arrow.names[place_label]]
        ):
            chosen = [batch.column(file.schema_arrow.names[place]).to_pylist() for place in (place_path, place_label)]
            for text, label in zip(*chosen, strict=True):
                if text is None or label is None:
                    raise ValueError(f"{path}: a row without path or label")
                yield _Row(str(text), str(label))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no Parquet list: {str(error).splitlines()[0][:120]}") from None


class _Numbered(NamedTuple):
    labels: IntArray
    people: list[str]


def _number(labels: list[str], rows: IntArray, path: Path) -> _Numbered:
    whole = [WHOLE_NUMBER.fullmatch(label.strip()) is not None for label in labels]
    if labels and all(whole):
        counted = count_anew(np.array([int(float(label)) for label in labels], dtype=np.int64), source=path)
        return _Numbered(counted.labels[rows], counted.names)
    if any(whole):
        mixed = labels[whole.index(False)]
        raise ValueError(
            f"{path}: labels must all be whole numbers from 0, or all be names; among numbers there is {mixed[:40]!r}"
        )
    people = sorted(labels)
    number = {person: index for index, person in enumerate(people)}
    return _Numbered(np.array([number[label] for label in labels], dtype=np.int64)[rows], people)
