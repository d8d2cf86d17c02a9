"""The index of a .rec file, key -> offset, as arrays: read from .idx in blocks, rebuilt by a scan, kept once for all
workers.

A dictionary of 17 million records takes gigabytes in each worker; two int64 arrays take 272 MB, and one where the keys
are consecutive, as they are in every pack of this field. Large indices are kept as a mapped file, so that all workers
and ranks of a machine share the same pages and a worker starts by opening it.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import kept_path, writing_file
from transface.file_kinds import kind_or

IntArray = NDArray[np.int64]
logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 18  # fits the processor's cache: 17 million lines in about a second
CACHED_FROM = 1_000_000  # records; a smaller index is read faster than its copy is looked up
KEPT_FORMAT = 1
LARGEST_KEY = (1 << 63) - 1
LONGEST_NUMBER = 18  # digits: any such number fits an int64


class _Kept(NamedTuple):
    path: Path
    order: IntArray | None
    ascending: bool


def _ascends(numbers: IntArray) -> bool:
    """Whether each number is above the one before, looked at in blocks: no second array of their size."""
    step = 1 << 20
    return all(
        bool((block[1:] > block[:-1]).all())
        for block in (numbers[at : at + step + 1] for at in range(0, len(numbers), step))
    )


class RecordIndex:
    """Keys and byte offsets of records, in the order of the .idx file.

    Args:
        keys: (n,) int64, distinct, or None when they are first_key, first_key + 1, ...
        offsets: (n,) int64.
        first_key: the first of consecutive keys.
        kept: where the same lies in a mapped file, which is then what a pickle carries, and what is known of it.
    """

    def __init__(
        self, keys: IntArray | None, offsets: IntArray, *, first_key: int = 0, kept: "_Kept | None" = None
    ) -> None:
        self.offsets = offsets
        self.first_key = first_key
        self._keys = keys
        self._kept_at = None if kept is None else kept.path
        if kept is not None:
            self._order, self.ascending = kept.order, kept.ascending
        else:
            self._order = None if keys is None or _ascends(keys) else np.argsort(keys, kind="stable")
            self.ascending = _ascends(offsets)

    def __len__(self) -> int:
        return len(self.offsets)

    def __reduce__(self) -> tuple[object, ...]:
        if self._kept_at is not None:
            return open_kept, (self._kept_at,)
        return _restore, (self._keys, self.offsets, self.first_key)

    def keys(self) -> IntArray:
        """Return all keys (n,), in the order of the .idx file."""
        if self._keys is None:
            return np.arange(self.first_key, self.first_key + len(self), dtype=np.int64)
        return self._keys

    @property
    def consecutive(self) -> bool:
        """Whether the keys are first_key, first_key + 1, ..."""
        return self._keys is None

    def key_at(self, position: int) -> int:
        """Return the key at `position`."""
        return self.first_key + position if self._keys is None else int(self._keys[position])

    def position(self, key: int) -> int:
        """Return where `key` stands in the index, or -1 where it is missing."""
        number = int(key)
        if number != key or not -LARGEST_KEY <= number <= LARGEST_KEY:  # not cut down to a key that nobody asked for
            return -1
        if self._keys is None:
            found = number - self.first_key
            return found if 0 <= found < len(self) else -1
        return int(self.positions(np.array([number], dtype=np.int64))[0])

    def positions(self, keys: IntArray) -> IntArray:
        """Return where each of `keys` (m,) stands in the index, -1 where it is missing."""
        if self._keys is None:
            found = keys - self.first_key
            return np.where((found >= 0) & (found < len(self)), found, -1)
        if not len(self):
            return np.full(len(keys), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._keys, keys, sorter=self._order), len(self) - 1)
        found = place if self._order is None else self._order[place]
        return np.where(self._keys[found] == keys, found, -1)

    def duplicate_key(self) -> int | None:
        """Return a key that stands in the index twice, or None."""
        if self._keys is None:
            return None
        ordered = self._keys if self._order is None else self._keys[self._order]
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        return int(ordered[twice[0]]) if len(twice) else None


def _restore(keys: IntArray | None, offsets: IntArray, first_key: int) -> RecordIndex:
    return RecordIndex(keys, offsets, first_key=first_key)


def read_index(path: Path) -> RecordIndex:
    """Return the index written in the .idx file `path`: a line a record, key, tab, offset.

    Raises:
        ValueError: for a line that is not two numbers, a key that stands twice, an offset that is no multiple of 4;
            names the line.
    """
    kept_at = _kept_path(path)
    if kept_at is not None and (kept := open_if_kept(kept_at)) is not None:
        return kept
    index = _read_text(path)
    if (twice := index.duplicate_key()) is not None:
        raise ValueError(f"{path}: key {twice} stands in it twice; 'transface pack index' writes it again")
    return index if kept_at is None or len(index) < CACHED_FROM else keep_index(index, kept_at)


class _Lines(NamedTuple):
    keys: IntArray
    offsets: IntArray


def _read_text(path: Path) -> RecordIndex:
    count = _count_lines(path)
    offsets = np.empty(count, dtype=np.int64)
    keys: IntArray | None = None
    first_key, done, rest = 0, 0, b""
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK_BYTES)
            text = rest + block
            if not text:
                break
            cut = text.rfind(b"\n") + 1 if block else len(text)
            rest = text[cut:]
            if len(rest) > BLOCK_BYTES:
                raise ValueError(f"{path}: line {done + 1} is no 'key<TAB>offset'; is it an .idx file?")
            if not cut:
                continue
            lines = _parse(text[:cut], path, done)
            size = len(lines.keys)
            if size == 0:
                continue
            if len(unaligned := np.flatnonzero(lines.offsets & 3)):
                line = done + int(unaligned[0])
                raise ValueError(
                    f"{path}: line {line + 1} has offset {lines.offsets[line - done]}; records start at multiples of 4"
                )
            if done == 0:
                first_key = int(lines.keys[0])
            if keys is None and not np.array_equal(lines.keys, np.arange(first_key + done, first_key + done + size)):
                keys = np.empty(count, dtype=np.int64)
                keys[:done] = np.arange(first_key, first_key + done)
            if keys is not None:
                keys[done : done + size] = lines.keys
            offsets[done : done + size] = lines.offsets
            done += size
            if not block:
                break
    return RecordIndex(None if keys is None else keys[:done], offsets[:done], first_key=first_key)


def _count_lines(path: Path) -> int:
    count = 1
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            count += block.count(b"\n")
    return count


def _parse(text: bytes, path: Path, lines_before: int) -> _Lines:
    if not text.endswith(b"\n"):
        text += b"\n"
    letters = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero((letters - np.uint8(48)) > 9)
    starts = np.empty_like(ends)
    starts[0], starts[1:] = 0, ends[:-1] + 1
    lengths = ends - starts
    exact = len(ends) % 2 == 0 and bool((letters[ends[0::2]] == 9).all() and (letters[ends[1::2]] == 10).all())
    if not exact or int(lengths.min()) < 1 or int(lengths.max()) > LONGEST_NUMBER:
        return _parse_slowly(text, path, lines_before)
    numbers = np.fromstring(text, dtype=np.int64, sep=" ")  # type: ignore[arg-type]
    return _Lines(numbers[0::2], numbers[1::2])


def _parse_slowly(text: bytes, path: Path, lines_before: int) -> _Lines:
    """Line by line: blank lines, blanks for tabs and CR LF are let through, all else is refused by its line."""
    pairs: list[tuple[int, int]] = []
    for number, line in enumerate(text.split(b"\n"), lines_before + 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not all(word.isdigit() and len(word) <= LONGEST_NUMBER for word in words):
            what = f"line {number} must be 'key<TAB>offset', got {line[:60]!r}"
            raise ValueError(f"{path}: {kind_or(what, path)}")
        pairs.append((int(words[0]), int(words[1])))
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return _Lines(np.ascontiguousarray(columns[:, 0]), np.ascontiguousarray(columns[:, 1]))


def _kept_path(path: Path) -> Path | None:
    if path.stat().st_size < CACHED_FROM * 4:  # "0\t0\n" is the shortest line
        return None
    return kept_path("index", [path], ending=".int64")


def open_if_kept(kept_at: Path) -> RecordIndex | None:
    """Return the index kept at `kept_at`, or None where there is none that can be read."""
    if not kept_at.is_file():
        return None
    try:
        return open_kept(kept_at)
    except (OSError, ValueError):
        logger.warning("the kept index %s cannot be read; it is made again", kept_at)
        return None


def keep_index(index: RecordIndex, kept_at: Path) -> RecordIndex:
    """Return the same index on a mapped file: 6 numbers (see `open_kept`), offsets, then keys and their order where
    there are any.
    """
    arrays = [array for array in (index.offsets, index._keys, index._order) if array is not None]
    try:
        with writing_file(kept_at) as file:
            np.array(
                [KEPT_FORMAT, len(index), index.first_key, len(arrays), int(index.ascending), 0], dtype=np.int64
            ).tofile(file)
            for array in arrays:
                array.tofile(file)
        return open_kept(kept_at)
    except OSError as error:
        logger.warning(
            "the index cannot be kept at %s (%s): each worker gets a copy; TRANSFACE_CACHE names another folder",
            kept_at,
            error,
        )
        return index


def open_kept(kept_at: Path) -> RecordIndex:
    """Return the index that lies in the mapped file `kept_at`; nothing of it is read yet."""
    numbers = np.memmap(kept_at, dtype=np.int64, mode="r")
    head = [int(number) for number in numbers[:6]]
    if len(head) < 6 or head[0] != KEPT_FORMAT or not 1 <= head[3] <= 3 or len(numbers) != 6 + head[1] * head[3]:
        raise ValueError(f"{kept_at} is no kept index: remove it")
    offsets, keys, order = (numbers[6 + head[1] * i : 6 + head[1] * (i + 1)] if i < head[3] else None for i in range(3))
    assert offsets is not None
    return RecordIndex(keys, offsets, first_key=head[2], kept=_Kept(kept_at, order, bool(head[4])))
