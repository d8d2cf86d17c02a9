"""Writes a .rec file and its .idx so that a stopped run never leaves a file that looks whole, and can be resumed
with.
"""

import contextlib
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from transface.data.recordio.headers import RecordHeader, pack_record
from transface.data.recordio.parts import RecordError, read_record_at, split_parts


class RecordWriter:
    """Writes a .rec file and its .idx; both appear under their names only when `close` is reached without an error.

    Use it as a context manager. Records go to `<name>.partial`; an error inside the block removes these and leaves
    older files as they were.

    Args:
        path_rec: the .rec file.
        path_idx: its index; by default the same name with .idx.
        resume: continue after the last whole record of the partial files of a stopped run, and leave them at an error.
    """

    def __init__(self, path_rec: str | Path, path_idx: str | Path | None = None, *, resume: bool = False) -> None:
        self.path = Path(path_rec)
        self.path_idx = Path(path_idx) if path_idx is not None else self.path.with_suffix(".idx")
        if self.path_idx == self.path:
            raise ValueError(f"the records and their index need two names, got {self.path} for both")
        self.resume = resume
        self.num_written = 0
        self._offset = 0
        self._last_key = -1
        self._seen: set[int] | None = None  # only once keys stop ascending
        if resume:
            self._cut_to_whole_records()
        mode = "r+b" if self.num_written else "wb"
        self._rec = partial_path(self.path).open(mode)
        try:
            self._idx = partial_path(self.path_idx).open(mode)
        except OSError:
            self._rec.close()
            if not resume:
                partial_path(self.path).unlink()
            raise
        for file in (self._rec, self._idx):
            file.seek(0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._leave()
            return
        try:
            self.close()
        except BaseException:  # the disk may be full only now, when the last bytes go out
            self._leave()
            raise

    def _leave(self) -> None:
        """After an error: keep what can be resumed, else drop it."""
        if not self.resume:
            self.abort()
            return
        for file in (self._rec, self._idx):
            with contextlib.suppress(OSError):
                file.close()

    def write(self, key: int, header: RecordHeader | Sequence, payload: bytes) -> None:
        """Append one image record under `key`.

        Raises:
            ValueError: for a negative key or one already written.
        """
        self.write_raw(key, pack_record(RecordHeader(*header), bytes(payload)))

    def write_raw(self, key: int, data: bytes) -> None:
        """Append one record whose bytes already hold its header."""
        parts = b"".join(split_parts(data))
        self._take_key(int(key))
        self._rec.write(parts)
        self._idx.write(b"%d\t%d\n" % (key, self._offset))
        self._offset += len(parts)
        self.num_written += 1

    def rewrite_first(self, header: RecordHeader | Sequence, payload: bytes) -> None:
        """Put another record of the same length in place of the first one.

        Raises:
            ValueError: if its length differs.
        """
        parts = b"".join(split_parts(pack_record(RecordHeader(*header), bytes(payload))))
        self._rec.flush()
        fd = os.open(partial_path(self.path), os.O_RDWR)
        try:
            first = read_record_at(fd, 0, num_bytes=self._offset, guess=4096, path=self.path)
            if len(parts) != first.end:
                raise ValueError(
                    f"{self.path}: its first record takes {first.end} bytes, one of {len(parts)} cannot take its place"
                )
            os.pwrite(fd, parts, 0)
        finally:
            os.close(fd)

    def keep_first(self, count: int) -> None:
        """Drop all but the first `count` of the records a stopped run left; for right after opening."""
        lines = _whole_lines(partial_path(self.path_idx))
        if count < len(lines):
            self._offset = lines[count].offset
            self._rec.truncate(self._offset)
            self._idx.truncate(lines[count - 1].end if count else 0)
            self.num_written, self._last_key = count, lines[count - 1].key if count else -1
            self._seen = None if self._seen is None else {line.key for line in lines[:count]}
            for file in (self._rec, self._idx):
                file.seek(0, os.SEEK_END)

    def flush(self) -> None:
        """Hand what was written to the system: records first, so that the index never speaks of one that is not
        there.
        """
        self._rec.flush()
        self._idx.flush()

    def _take_key(self, key: int) -> None:
        if key < 0:
            raise ValueError(f"keys of records are 0 or more, got {key}")
        if self._seen is None and key <= self._last_key:
            self._idx.flush()
            self._seen = {line.key for line in _whole_lines(partial_path(self.path_idx))}
        if self._seen is not None:
            if key in self._seen:
                raise ValueError(f"{self.path}: key {key} was written before")
            self._seen.add(key)
        self._last_key = key

    def _cut_to_whole_records(self) -> None:
        rec, idx = partial_path(self.path), partial_path(self.path_idx)
        if not (rec.is_file() and idx.is_file()):
            return
        lines = _whole_lines(idx)
        fd = os.open(rec, os.O_RDWR)
        try:
            num_bytes = os.fstat(fd).st_size
            while lines:
                try:
                    self._offset = read_record_at(fd, lines[-1].offset, num_bytes=num_bytes, guess=4096, path=rec).end
                    if self._offset <= num_bytes:
                        break
                except RecordError:
                    pass
                lines.pop()
            self._offset = self._offset if lines else 0
            os.ftruncate(fd, self._offset)
        finally:
            os.close(fd)
        os.truncate(idx, lines[-1].end if lines else 0)
        self.num_written = len(lines)
        self._last_key = lines[-1].key if lines else -1
        if any(after.key <= before.key for before, after in pairwise(lines)):
            self._seen = {line.key for line in lines}

    def close(self) -> None:
        """Finish both files and give them their names: the old index goes first, so that it never stands beside new
        records.
        """
        if self._rec.closed:
            return
        for file in (self._rec, self._idx):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        self.path_idx.unlink(missing_ok=True)
        partial_path(self.path).replace(self.path)
        partial_path(self.path_idx).replace(self.path_idx)

    def abort(self) -> None:
        """Drop what was written."""
        for file, path in ((self._rec, self.path), (self._idx, self.path_idx)):
            with contextlib.suppress(OSError):  # a full disk takes what is still to be written no better than before
                file.close()
            partial_path(path).unlink(missing_ok=True)


class _Line(NamedTuple):
    key: int
    offset: int
    end: int


def _whole_lines(path: Path) -> list[_Line]:
    """The lines of a partial .idx file that are whole, with the place where each ends."""
    lines, end = [], 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            words = line.split(b"\t")
            if not line.endswith(b"\n") or len(words) != 2 or not all(word.strip().isdigit() for word in words):
                break
            lines.append(_Line(int(words[0]), int(words[1]), end))
    return lines


def partial_path(path: Path) -> Path:
    """Return the name a file has until it is whole."""
    return path.with_name(path.name + ".partial")
