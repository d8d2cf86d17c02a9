"""FER2013 as it is published: a CSV with an emotion, the 48 x 48 pixels and a usage in every row; and FER+'s votes.

The images stay in the file: what is kept of each is where its pixels begin and end. Shapes: n images.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import encode_png

from transface.data.labels.expressions import FER2013, majority_expression
from transface.data.sources.image_files import ImageFiles, PathTable
from transface.images.fit import Fit

SIDE = 48
LISTS = ("fer2013.csv", "icml_face_data.csv")
VOTES = "fer2013new.csv"  # FER+: rows in the order of FER2013's
LONGEST = 1 << 16  # bytes of a row: 2,304 numbers take at most 9,216
SPACE, ZERO = 32, 48
EMOTIONS = frozenset(str(number).encode() for number in range(len(FER2013)))  # as a cell has them


class PixelCells(NamedTuple):
    """Where the pixels of n images lie in a file: the first byte of each, and the first behind it."""

    file: Path
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def of(self, index: int) -> bytes:
        """Return the pixels of an image as they are written.

        Raises:
            ValueError: if the file cannot be read.
        """
        try:
            with self.file.open("rb") as file:
                file.seek(int(self.starts[index]))
                return file.read(int(self.ends[index] - self.starts[index]))
        except OSError as error:
            raise ValueError(f"image {index} of {self.file} cannot be read: {error.strerror}") from None


class PixelRows(NamedTuple):
    """What a list of pixels says: the rows that can be used (n,), from 0, where their pixels are, their emotions (n,)
    as places in FER2013 and their usages as written ("" where the list has none); the rows that cannot, each with the
    reason; and the number of all.
    """

    rows: NDArray[np.int64]
    cells: PixelCells
    emotions: NDArray[np.int64]
    usages: list[str]
    rejected: list[str]
    num_rows: int


class PixelImages(ImageFiles):
    """Grey images whose pixels are written as numbers in a list.

    Args:
        paths: the names of the n images.
        cells: where each one's pixels are.
        image_size, fit: as ImageFiles takes them.
    """

    def __init__(self, paths: PathTable, cells: PixelCells, *, image_size: tuple[int, int], fit: Fit) -> None:
        super().__init__(cells.file, paths, image_size=image_size, fit=fit)
        self.cells = cells

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        return f"{self.root}: {self.paths[index]}"

    def encoded(self, index: int) -> bytes:
        """Return the image at `index` as PNG.

        Raises:
            ValueError: if it cannot be read, or the file was changed since it was opened.
        """
        found = pixels_of(self.cells.of(index))
        if isinstance(found, str):
            raise ValueError(f"image {self.name(index)}: {found}; was the file changed?")
        return bytes(encode_png(torch.from_numpy(found)[None], compression_level=1).numpy())


def pixels_of(cell: bytes) -> NDArray[np.uint8] | str:
    """Return the (48, 48) pixels that a cell holds as numbers 0 to 255 with blanks between, or what is wrong with
    it.
    """
    raw = np.frombuffer(cell, dtype=np.uint8)
    digits = raw - ZERO  # wraps: what lies before the digits comes far behind them
    is_digit = digits < 10
    if (other := raw[~is_digit & (raw != SPACE)]).size:
        return f"its pixels hold {chr(other[0])!r}, numbers 0 to 255 with blanks between them are expected"
    edges = np.flatnonzero(np.diff(is_digit, prepend=False, append=False))
    starts, last = edges[::2], edges[1::2] - 1
    if len(starts) != SIDE * SIDE:
        return f"it has {len(starts)} pixels, {SIDE} x {SIDE} = {SIDE * SIDE} are expected"
    length = last - starts + 1
    values = digits[last].astype(np.int64)
    values += np.where(length > 1, 10 * digits[last - 1].astype(np.int64), 0)
    values += np.where(length > 2, 100 * digits[last - 2].astype(np.int64), 0)
    if length.max() > 3 or values.max() > 255:
        worst = int(np.argmax(np.where(length > 3, 1000, values)))
        return f"pixel {worst} is {cell[starts[worst] : last[worst] + 1].decode()[:12]}, 0 to 255 is expected"
    return values.astype(np.uint8).reshape(SIDE, SIDE)


def pixel_list(root: Path) -> Path | None:
    """Return the list of pixels that a path means: itself, or FER2013's in a folder; None where it means none."""
    if root.is_file():
        return root if {"emotion", "pixels"} <= set(_columns(root)) else None
    below = [root / folder / name for folder in (".", "fer2013") for name in LISTS]
    return next((path for path in below if path.is_file() and {"emotion", "pixels"} <= set(_columns(path))), None)


def _columns(path: Path) -> list[str]:
    """Return the names of the columns, without blanks around them and in lower case; [] of a file that is no text."""
    with path.open("rb") as file:
        head = file.readline(LONGEST).decode("utf-8-sig", "replace")
    try:
        names = next(csv.reader(io.StringIO(head)), [])
    except csv.Error:
        return []
    return [name.strip().lower() for name in names]


def read_pixel_rows(path: Path) -> PixelRows:
    """Return what a list of pixels says; every row's pixels are looked at once.

    Raises:
        ValueError: if its columns are others.
    """
    state = path.stat()
    return _read_rows(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)  # a set is opened for training and for each protocol
def _read_rows(path: Path, _changed: int, _size: int) -> PixelRows:
    columns = _columns(path)
    if missing := [name for name in ("emotion", "pixels") if name not in columns]:
        raise ValueError(
            f"{path}: its first line must name emotion and pixels (and Usage), got {', '.join(columns)[:80]!r}: no"
            f" {missing[0]}"
        )
    place = {name: columns.index(name) for name in ("emotion", "pixels", "usage") if name in columns}
    rows, starts, ends, emotions, usages, rejected = [], [], [], [], [], []
    count = 0
    for begin, line in _lines(path):
        if not line.strip():
            continue
        count += 1
        cells = line.rstrip(b"\r\n").split(b",")
        reason = _wrong_row(cells, len(columns), place["emotion"])
        if reason is None:
            pixels = cells[place["pixels"]]
            bare = pixels.strip(b'" ')
            found = pixels_of(bare)
            reason = found if isinstance(found, str) else None
        if reason is not None:
            rejected.append(f"row {count}: {reason}")
            continue
        start = begin + sum(len(cell) + 1 for cell in cells[: place["pixels"]]) + pixels.index(bare)
        rows.append(count - 1)
        starts.append(start)
        ends.append(start + len(bare))
        emotions.append(int(cells[place["emotion"]].strip(b'" ')))
        usages.append(cells[place["usage"]].strip(b'" ').decode("utf-8", "replace") if "usage" in place else "")
    return PixelRows(
        np.array(rows, dtype=np.int64),
        PixelCells(path, np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)),
        np.array(emotions, dtype=np.int64),
        usages,
        rejected,
        count,
    )


def _wrong_row(cells: Sequence[bytes], num_columns: int, emotion: int) -> str | None:
    """Return what is wrong with the cells of a row but for its pixels, None where nothing is."""
    if len(cells) != num_columns:
        return f"it has {len(cells)} cells, {num_columns} are expected"
    word = cells[emotion].strip(b'" ')
    if word not in EMOTIONS:
        return f"its emotion is {word.decode('utf-8', 'replace')[:20]!r}, 0 to {len(FER2013) - 1} is expected"
    return None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the place and the bytes of every line but the first; of a line that is too long, its beginning."""
    with path.open("rb") as file:
        file.readline(LONGEST)
        while True:
            begin = file.tell()
            line = file.readline(LONGEST)
            if not line:
                return
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(LONGEST)
            yield begin, line


class VotedRow(NamedTuple):
    """A row of FER+'s votes: the usage or the box of the face, the image's name ("" where FER+ has none), and the place
    in FERPLUS of the expression that the majority saw, or -1.
    """

    usage: str
    name: str
    expression: int


def read_votes(path: Path) -> list[VotedRow]:
    """Return every row of a label.csv or of fer2013new.csv, without the header.

    Raises:
        ValueError: naming the first line that has no ten counts.
    """
    found = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or row[0].strip().lower() == "usage":
                continue
            is_label = len(row) == 12 and row[0].lower().endswith(".png")
            name = row[0] if is_label else row[1] if len(row) == 12 else ""
            try:
                expression = majority_expression([int(float(word)) for word in row[2:12]])
            except ValueError:
                raise ValueError(
                    f"{path}: line {number} must be an image and ten counts of votes, got {','.join(row)[:80]!r}"
                ) from None
            found.append(VotedRow("" if is_label else row[0].strip(), name.strip(), expression))
    return found


def votes_of(found: PixelRows) -> list[VotedRow]:
    """Return FER+'s row of each usable image of a list of pixels, from the file of votes beside it.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if its rows are not those of the list.
    """
    path = found.cells.file.parent / VOTES
    if not path.is_file():
        raise FileNotFoundError(f"no {VOTES} beside {found.cells.file}: it holds FER+'s votes; or give kind=fer2013")
    votes = read_votes(path)
    if len(votes) != found.num_rows:
        raise ValueError(
            f"{path} has {len(votes)} rows, {found.cells.file} has {found.num_rows}: they must be the same images in"
            " the same order"
        )
    chosen = [votes[row] for row in found.rows.tolist()]
    for row, vote, usage in zip(found.rows.tolist(), chosen, found.usages, strict=True):
        if usage and vote.usage and usage.lower() != vote.usage.lower():
            raise ValueError(
                f"row {row + 1} is of {usage} in {found.cells.file} and of {vote.usage} in {path}: they must be the"
                " same images in the same order"
            )
    return chosen
