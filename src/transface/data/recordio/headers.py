"""The header of an image record: one at a time, or of all records of a file at once.

An image record starts with uint32 flag, float32 label, uint64 id, uint64 id2; a flag above 0 counts the float32 labels
that follow.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.data.recordio.index import IntArray
from transface.data.recordio.parts import (
    BLOCK_BYTES,
    LENGTH_BITS,
    MAGIC,
    MAX_LENGTH,
    PART,
    WHOLE,
    RecordError,
    read_record_at,
)

HEADER = struct.Struct("<IfQQ")
GUESSED_BYTES = 16 << 10  # read ahead where the index does not tell a record's size


class RecordHeader(NamedTuple):
    """What stands before the payload: `label` is a float when flag is 0, else a float32 array of `flag` numbers."""

    flag: int
    label: float | NDArray[np.float32]
    id: int = 0
    id2: int = 0


class Record(NamedTuple):
    header: RecordHeader
    payload: bytes


def pack_record(header: RecordHeader, payload: bytes) -> bytes:
    """Return header, labels and payload as the bytes of one record; the flag follows from the label, whatever was
    given.

    Raises:
        ValueError: for an id outside 0..2^64-1.
    """
    if not (0 <= int(header.id) < 1 << 64 and 0 <= int(header.id2) < 1 << 64):
        raise ValueError(f"record ids must lie in 0..2^64-1, got id={header.id}, id2={header.id2}")
    if np.ndim(header.label) == 0:
        return HEADER.pack(0, float(header.label), int(header.id), int(header.id2)) + payload
    labels = np.asarray(header.label, dtype="<f4").ravel()
    return HEADER.pack(labels.size, 0.0, int(header.id), int(header.id2)) + labels.tobytes() + payload


def unpack_record(data: bytes, *, where: object = "record") -> Record:
    """Return the header and payload held in the bytes of one record; `where` goes into the error.

    Raises:
        RecordError: if `data` is shorter than its header says.
    """
    if len(data) < HEADER.size:
        raise RecordError(
            f"{where}: an image record has a header of {HEADER.size} bytes, this record has {len(data)} in all"
        )
    flag, label, id_, id2 = HEADER.unpack_from(data)
    if flag == 0:
        return Record(RecordHeader(flag, label, id_, id2), data[HEADER.size :])
    end = HEADER.size + 4 * flag
    if end > len(data):
        raise RecordError(
            f"{where}: the header promises {flag} labels, but the record has {len(data)} bytes: it is corrupt"
        )
    labels = np.frombuffer(data, dtype="<f4", count=flag, offset=HEADER.size).astype(np.float32)
    return Record(RecordHeader(flag, labels, id_, id2), data[end:])


class HeaderColumns(NamedTuple):
    """Headers of many records: `label` is the first label of each, `length` the bytes of its first part."""

    flag: NDArray[np.uint32]
    label: NDArray[np.float32]
    id: NDArray[np.uint64]
    length: NDArray[np.uint32]


def read_headers(fd: int, offsets: IntArray, *, num_bytes: int, path: Path, mark_broken: bool = False) -> HeaderColumns:
    """Return the headers of the records at `offsets` (m,), reading the file forwards in blocks.

    With `mark_broken` the label of a broken record is NaN.

    Raises:
        RecordError: for a broken record, without `mark_broken`.
    """
    words = np.zeros((len(offsets), 9), dtype="<u4")
    order = np.argsort(offsets, kind="stable") if len(offsets) > 1 and not (offsets[1:] >= offsets[:-1]).all() else None
    ordered = offsets if order is None else offsets[order]
    size, done = words.shape[1] * 4, 0
    while done < len(ordered):
        begin = int(ordered[done])
        near = int(np.searchsorted(ordered, begin + BLOCK_BYTES - size, side="right"))
        end = min(int(ordered[near - 1]) + size, num_bytes)
        block = os.pread(fd, max(end - begin, 0), begin)
        block += b"\0" * (int(ordered[near - 1]) + size - begin - len(block))
        values = np.frombuffer(block[: len(block) // 4 * 4], dtype="<u4")
        rows = (ordered[done:near] - begin) // 4
        words[done:near] = values[rows[:, None] + np.arange(9)]
        done = near
    _mend_headers(words, ordered, fd=fd, num_bytes=num_bytes, path=path, mark_broken=mark_broken)
    if order is not None:
        words[order] = words.copy()
    flag = words[:, 2].copy()
    label = np.where(flag > 0, words[:, 8], words[:, 3]).astype("<u4").view("<f4").astype(np.float32)
    return HeaderColumns(
        flag, label, np.ascontiguousarray(words[:, 4:6]).view("<u8").ravel(), words[:, 1] & np.uint32(MAX_LENGTH)
    )


def _mend_headers(
    words: NDArray[np.uint32], offsets: IntArray, *, fd: int, num_bytes: int, path: Path, mark_broken: bool
) -> None:
    """Refuse or mark what is no record; read whole the few records whose header itself may be split."""
    lengths = words[:, 1] & MAX_LENGTH
    odd = (
        (words[:, 0] != MAGIC) | (words[:, 1] >> LENGTH_BITS != WHOLE) | (lengths < HEADER.size + 4 * (words[:, 2] > 0))
    )
    for row in np.flatnonzero(odd | (offsets + PART.size + lengths > num_bytes)):
        offset = int(offsets[row])
        try:
            data = read_record_at(fd, offset, num_bytes=num_bytes, guess=GUESSED_BYTES, path=path).data
            record = unpack_record(data, where=f"{path}: record at offset {offset}")
        except RecordError:
            if not mark_broken:
                raise
            words[row, 2:4] = np.array([0, np.float32("nan").view("<u4")])
            continue
        head = data[: HEADER.size + 4 * min(record.header.flag, 1)]
        words[row, 2 : 2 + len(head) // 4] = np.frombuffer(head, dtype="<u4")
