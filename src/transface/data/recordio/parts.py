"""The frame of RecordIO: a record as parts between magic numbers; written, read at an offset, and found by walking a
file.

A part is uint32 magic, uint32 (cflag << 29 | length), `length` bytes, zeros up to a multiple of 4; numbers are
little-endian. cflag 0 is a whole record; 1, 2, 3 are its first, middle and last part: a record that holds the magic at
a 4-byte boundary is split there, and the magic goes back between the parts.
"""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from transface.data.recordio.index import IntArray

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
PART = struct.Struct("<II")
WHOLE, FIRST, MIDDLE, LAST = 0, 1, 2, 3
LENGTH_BITS = 29
MAX_LENGTH = (1 << LENGTH_BITS) - 1
BLOCK_BYTES = 8 << 20


class RecordError(ValueError):
    """A .rec file is not what it should be; the message names the file and the offset."""


def split_parts(data: bytes) -> Iterator[bytes]:
    """Yield the padded parts, with their heads, in which a record is written.

    Raises:
        ValueError: if a part is 2^29 bytes or longer, which the format cannot say.
    """
    pieces = [data] if MAGIC_BYTES not in data else _cut_at_magic(data)
    for number, piece in enumerate(pieces):
        if len(piece) > MAX_LENGTH:
            raise ValueError(f"a record of this format holds less than 2^29 bytes, got {len(piece)}")
        last = number == len(pieces) - 1
        cflag = (WHOLE if last else FIRST) if number == 0 else (LAST if last else MIDDLE)
        yield PART.pack(MAGIC, cflag << LENGTH_BITS | len(piece)) + piece + b"\0" * (-len(piece) % 4)


def _cut_at_magic(data: bytes) -> list[bytes]:
    words = np.frombuffer(data, dtype="<u4", count=len(data) // 4)
    pieces, start = [], 0
    for word in np.flatnonzero(words == MAGIC):
        pieces.append(data[start : 4 * int(word)])
        start = 4 * int(word) + 4
    return [*pieces, data[start:]]


class _Extent(NamedTuple):
    data: bytes
    end: int


def read_record_at(fd: int, offset: int, *, num_bytes: int, guess: int, path: Path) -> _Extent:
    """Return the record that starts at `offset`, its parts joined, and the offset where it ends.

    Raises:
        RecordError: naming the file and offset, where no record starts or the file ends inside one.
    """
    start, wanted = offset, WHOLE
    pieces: list[bytes] = []
    buffer, at = os.pread(fd, max(PART.size, min(guess, num_bytes - offset)), offset), 0
    while True:
        if len(buffer) - at < PART.size:
            buffer, at = os.pread(fd, PART.size, offset), 0
        if len(buffer) < PART.size:
            raise RecordError(
                f"{path}: truncated: the record at offset {start} continues at {offset}, the file ends at {num_bytes}"
            )
        magic, word = PART.unpack_from(buffer, at)
        cflag, length = word >> LENGTH_BITS, word & MAX_LENGTH
        _check_part(magic, cflag, wanted, offset=offset, path=path)
        if offset + PART.size + length > num_bytes:
            raise RecordError(
                f"{path}: truncated or corrupt: the record at offset {start} needs {length} bytes from"
                f" {offset + PART.size}, the file ends at {num_bytes}"
            )
        piece = buffer[at + PART.size : at + PART.size + length]
        if len(piece) < length:
            piece = os.pread(fd, length, offset + PART.size)
        pieces.append(piece)
        step = PART.size + length + -length % 4
        offset, at = offset + step, at + step
        if at > len(buffer):
            buffer, at = b"", 0
        if cflag in (WHOLE, LAST):
            return _Extent(piece if cflag == WHOLE else MAGIC_BYTES.join(pieces), offset)
        wanted = LAST


def _check_part(magic: int, cflag: int, wanted: int, *, offset: int, path: Path) -> None:
    if magic != MAGIC:
        raise RecordError(
            f"{path}: no record starts at offset {offset}: expected the magic 0x{MAGIC:08x}, found 0x{magic:08x}"
        )
    if cflag not in ((WHOLE, FIRST) if wanted == WHOLE else (MIDDLE, LAST)):
        raise RecordError(
            f"{path}: the part at offset {offset} has flag {cflag}: parts of a record are missing or in the wrong order"
        )


def scan_offsets(path: Path, on_progress: Callable[[int], object] | None = None) -> IntArray:
    """Return the offsets (n,) at which records start, found by walking the file from its beginning; `on_progress` is
    told bytes passed.

    Raises:
        RecordError: where the walk meets no record, or the file ends inside one.
    """
    found: list[IntArray] = []
    starts: list[int] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        num_bytes, offset, base, block, wanted = os.fstat(fd).st_size, 0, 0, b"", WHOLE
        while offset < num_bytes:
            if offset + PART.size > base + len(block):
                if on_progress is not None:
                    on_progress(offset - base)
                base, block = offset, os.pread(fd, BLOCK_BYTES, offset)
            if len(block) < PART.size:
                raise RecordError(f"{path}: truncated: {num_bytes - offset} stray bytes at offset {offset}")
            magic, word = PART.unpack_from(block, offset - base)
            cflag, length = word >> LENGTH_BITS, word & MAX_LENGTH
            if magic != MAGIC or cflag != WHOLE or wanted != WHOLE:
                _check_part(magic, cflag, wanted, offset=offset, path=path)
            if wanted == WHOLE:
                starts.append(offset)
            wanted = WHOLE if cflag in (WHOLE, LAST) else LAST
            offset += PART.size + length + -length % 4
            if len(starts) >= 1 << 16:
                found.append(np.array(starts, dtype=np.int64))
                starts.clear()
        if offset > num_bytes or wanted != WHOLE:
            raise RecordError(
                f"{path}: truncated: its last record continues to offset {offset}, the file ends at {num_bytes}"
            )
    finally:
        os.close(fd)
    return np.concatenate([*found, np.array(starts, dtype=np.int64)])
