"""Reads and writes MXNet RecordIO (.rec with .idx) without mxnet: headers, array labels, records in several parts."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from transface.artifacts import kept_path
from transface.data.recordio.headers import (
    GUESSED_BYTES,
    HeaderColumns,
    Record,
    RecordHeader,
    read_headers,
    unpack_record,
)
from transface.data.recordio.index import IntArray, RecordIndex, keep_index, open_if_kept, read_index
from transface.data.recordio.parts import LENGTH_BITS, MAGIC, PART, WHOLE, RecordError, read_record_at, scan_offsets
from transface.data.recordio.writer import RecordWriter

__all__ = ["MissingKeyError", "Record", "RecordError", "RecordHeader", "RecordReader", "RecordWriter"]

logger = logging.getLogger(__name__)

KEPT_FROM = 64 << 20  # bytes of a .rec whose index, found by walking it, is kept
IDS_AT_ONCE = 1 << 20
LARGEST_GUESS = 1 << 20
GUESSED_LEAST = 4 << 10  # for the last record, which has none after it


class MissingKeyError(KeyError, ValueError):
    """A key that the index does not hold."""

    def __str__(self) -> str:
        return str(self.args[0])


class RecordReader:
    """Reads records by key. Safe to share between threads, forked and spawned workers: every read is one `pread`.

    Args:
        path_rec: the .rec file.
        path_idx: its index; by default the same name with .idx. Where it is missing the .rec is scanned: keys are then
            the records' ids if these number the records (0.. or 1..), as mxnet's tools write them, else the positions
            0, 1, ...
        check_end: see at opening that the last record is whole, so that a truncated file is found at once.

    Raises:
        FileNotFoundError: no such .rec file.
        RecordError: an offset of the index lies outside the file, or its last record is cut.
        ValueError: the .idx file is not one.
    """

    def __init__(self, path_rec: str | Path, path_idx: str | Path | None = None, *, check_end: bool = True) -> None:
        self.path = Path(path_rec)
        if not self.path.is_file():
            raise FileNotFoundError(f"no record file {self.path}")
        self.path_idx = Path(path_idx) if path_idx is not None else self.path.with_suffix(".idx")
        self._open()
        try:
            self.index = read_index(self.path_idx) if self.path_idx.is_file() else scanned_index(self.path)
            if check_end:
                self._check_end()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_RDONLY)
        self.num_bytes = os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close the file; reading afterwards fails."""
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in {"_fd", "num_bytes"}}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, key: int) -> bool:
        return self.index.position(key) >= 0

    def __iter__(self) -> Iterator[int]:
        return iter(self.keys().tolist())

    def keys(self) -> IntArray:
        """Return the keys (n,), in the order of the .idx file."""
        return self.index.keys()

    def __getitem__(self, key: int) -> Record:
        return unpack_record(self.raw(key), where=f"{self.path}: key {key}")

    def raw(self, key: int) -> bytes:
        """Return the whole record of `key`, header included, its parts joined.

        Raises:
            MissingKeyError: the index has no such key.
            RecordError: no record starts at the offset, or it is cut.
        """
        position = self.index.position(key)
        if position < 0:
            raise MissingKeyError(f"{self.path_idx}: no key {key} among its {len(self)} records")
        return self.raw_at(position)

    def raw_at(self, position: int) -> bytes:
        """Return the whole record that stands at `position` of the index."""
        offset = int(self.index.offsets[position])
        guess = GUESSED_BYTES
        if self.index.ascending and position + 1 < len(self.index):
            guess = min(int(self.index.offsets[position + 1]) - offset, LARGEST_GUESS)
        return read_record_at(self._fd, offset, num_bytes=self.num_bytes, guess=guess, path=self.path).data

    def raw_many(self, positions: IntArray) -> list[bytes]:
        """Return the whole records at `positions` (m,) of the index: one read each, little else."""
        offsets = np.asarray(self.index.offsets[positions])
        guesses = np.full(len(offsets), GUESSED_BYTES)
        if self.index.ascending and len(self.index):
            following = np.minimum(positions + 1, len(self.index) - 1)
            guesses = np.clip(self.index.offsets[following] - offsets, GUESSED_LEAST, LARGEST_GUESS)
        records = []
        for offset, guess, position in zip(offsets.tolist(), guesses.tolist(), positions.tolist(), strict=True):
            data = os.pread(self._fd, min(guess, self.num_bytes - offset) if offset < self.num_bytes else 0, offset)
            magic, word = PART.unpack_from(data) if len(data) >= PART.size else (0, 0)
            if magic == MAGIC and word >> LENGTH_BITS == WHOLE and PART.size + word <= len(data):
                records.append(data[PART.size : PART.size + word])
            else:  # in parts, larger than guessed, or broken
                records.append(self.raw_at(position))
        return records

    def headers(self, positions: IntArray | None = None, *, mark_broken: bool = False) -> HeaderColumns:
        """Return the headers of the records at `positions` of the index (default: all), reading the file once, in
        order.

        With `mark_broken` the label of a broken record is NaN.

        Raises:
            RecordError: at an offset where no record starts, or where it is too short for a header, without
                `mark_broken`.
        """
        offsets = self.index.offsets if positions is None else self.index.offsets[positions]
        return read_headers(
            self._fd, np.asarray(offsets), num_bytes=self.num_bytes, path=self.path, mark_broken=mark_broken
        )

    def _check_end(self) -> None:
        if not len(self.index):
            return
        last = len(self.index) - 1 if self.index.ascending else int(np.argmax(self.index.offsets))
        offset = int(self.index.offsets[last])
        if offset >= self.num_bytes:
            key = self.index.key_at(last)
            raise RecordError(
                f"{self.path} is truncated or not the file of {self.path_idx.name}: key {key} starts at offset"
                f" {offset}, the file ends at {self.num_bytes}; get the file again"
            )
        read_record_at(self._fd, offset, num_bytes=self.num_bytes, guess=GUESSED_BYTES, path=self.path)


def scanned_index(path: Path) -> RecordIndex:
    """Return what `scan_index` returns; of a large file it is kept, so that it is walked once a machine."""
    kept_at = kept_path("scanned", [path], ending=".int64") if path.stat().st_size >= KEPT_FROM else None
    if kept_at is not None and (kept := open_if_kept(kept_at)) is not None:
        return kept
    logger.info("no index beside %s: scanning it; 'transface pack index' writes one", path)
    index = scan_index(path)
    return index if kept_at is None else keep_index(index, kept_at)


def scan_index(path: Path, on_progress: Callable[[int], object] | None = None) -> RecordIndex:
    """Return the index of a .rec file that has none, as `RecordReader` describes it; `on_progress` is told bytes walked
    over.
    """
    offsets = scan_offsets(path, on_progress)
    ids = np.empty(len(offsets), dtype=np.uint64)
    fd = os.open(path, os.O_RDONLY)
    try:
        num_bytes = os.fstat(fd).st_size
        for start in range(0, len(offsets), IDS_AT_ONCE):
            some = offsets[start : start + IDS_AT_ONCE]
            ids[start : start + len(some)] = read_headers(fd, some, num_bytes=num_bytes, path=path).id
    except RecordError:  # records without image headers
        return RecordIndex(None, offsets)
    finally:
        os.close(fd)
    if len(ids) == 0 or int(ids.max()) > len(ids) or len(np.unique(ids)) < len(ids):
        return RecordIndex(None, offsets)
    keys = ids.astype(np.int64)
    if np.array_equal(keys, np.arange(keys[0], keys[0] + len(keys))):
        return RecordIndex(None, offsets, first_key=int(keys[0]))
    return RecordIndex(keys, offsets)
