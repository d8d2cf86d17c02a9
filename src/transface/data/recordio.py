"""Reads and writes MXNet RecordIO (.rec with .idx) without mxnet: headers, array labels, records in several parts.

The format, stated from the bytes: a part is uint32 magic, uint32 (cflag << 29 | length), `length` bytes, zeros up to a multiple of 4.
cflag 0 is a whole record; 1, 2, 3 are its first, middle and last part: a record that holds the magic at a 4-byte boundary is split
there, and the magic goes back between the parts. An image record starts with uint32 flag, float32 label, uint64 id, uint64 id2; a
flag above 0 counts the float32 labels that follow. All numbers are little-endian.
"""

import logging
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from transface.data.record_index import IntArray, RecordIndex, read_index

logger = logging.getLogger(__name__)

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
PART = struct.Struct("<II")
HEADER = struct.Struct("<IfQQ")
WHOLE, FIRST, MIDDLE, LAST = 0, 1, 2, 3
LENGTH_BITS = 29
MAX_LENGTH = (1 << LENGTH_BITS) - 1
BLOCK_BYTES = 8 << 20
GUESSED_BYTES = 16 << 10  # read ahead where the index does not tell a record's size
LARGEST_GUESS = 1 << 20


class RecordError(ValueError):
    """A .rec file is not what it should be; the message names the file and the offset."""


class MissingKeyError(KeyError, ValueError):
    """A key that the index does not hold."""

    def __str__(self) -> str:
        return str(self.args[0])


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
    """Return header, labels and payload as the bytes of one record; the flag follows from the label, whatever was given.

    Raises:
        ValueError: for an id outside 0..2^64-1.
    """
    if not (0 <= int(header.id) < 1 << 64 and 0 <= int(header.id2) < 1 << 64):
        raise ValueError(f"record ids must lie in 0..2^64-1, got id={header.id}, id2={header.id2}")
    if np.ndim(header.label) == 0:
        return HEADER.pack(0, float(header.label), int(header.id), int(header.id2)) + payload
    labels = np.asarray(header.label, dtype="<f4").ravel()
    return HEADER.pack(labels.size, 0.0, int(header.id), int(header.id2)) + labels.tobytes() + payload


def unpack_record(data: bytes, *, where: str = "record") -> Record:
    """Return the header and payload held in the bytes of one record; `where` goes into the error.

    Raises:
        RecordError: if `data` is shorter than its header says.
    """
    if len(data) < HEADER.size:
        raise RecordError(f"{where}: an image record has a header of {HEADER.size} bytes, this record has {len(data)} in all")
    flag, label, id_, id2 = HEADER.unpack_from(data)
    if flag == 0:
        return Record(RecordHeader(flag, label, id_, id2), data[HEADER.size :])
    end = HEADER.size + 4 * flag
    if end > len(data):
        raise RecordError(f"{where}: the header promises {flag} labels, but the record has {len(data)} bytes: it is corrupt")
    labels = np.frombuffer(data, dtype="<f4", count=flag, offset=HEADER.size).astype(np.float32)
    return Record(RecordHeader(flag, labels, id_, id2), data[end:])


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


class HeaderColumns(NamedTuple):
    """Headers of many records: `label` is the first label of each, `length` the bytes of its first part."""

    flag: NDArray[np.uint32]
    label: NDArray[np.float32]
    id: NDArray[np.uint64]
    length: NDArray[np.uint32]


class RecordReader:
    """Reads records by key. Safe to share between threads, forked and spawned workers: every read is one `pread`.

    Args:
        path_rec: the .rec file.
        path_idx: its index; by default the same name with .idx. Where it is missing the .rec is scanned: keys are then the records'
            ids if these number the records (0.. or 1..), as mxnet's tools write them, else the positions 0, 1, ...
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
            self.index = read_index(self.path_idx) if self.path_idx.is_file() else scan_index(self.path)
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

    def headers(self, positions: IntArray | None = None) -> HeaderColumns:
        """Return the headers of the records at `positions` of the index (default: all), reading the file once, in order.

        Raises:
            RecordError: at an offset where no record starts, or where it is too short for a header.
        """
        offsets = self.index.offsets if positions is None else self.index.offsets[positions]
        return read_headers(self._fd, np.asarray(offsets), num_bytes=self.num_bytes, path=self.path)

    def _check_end(self) -> None:
        if not len(self.index):
            return
        last = len(self.index) - 1 if self.index.ascending else int(np.argmax(self.index.offsets))
        offset = int(self.index.offsets[last])
        if offset >= self.num_bytes:
            key = self.index.key_at(last)
            raise RecordError(
                f"{self.path} is truncated or not the file of {self.path_idx.name}: key {key} starts at offset {offset}, "
                f"the file ends at {self.num_bytes}; get the file again, or 'transface pack index' to keep what is there"
            )
        read_record_at(self._fd, offset, num_bytes=self.num_bytes, guess=GUESSED_BYTES, path=self.path)


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
            raise RecordError(f"{path}: truncated: the record at offset {start} goes on at {offset}, the file ends at {num_bytes}")
        magic, word = PART.unpack_from(buffer, at)
        cflag, length = word >> LENGTH_BITS, word & MAX_LENGTH
        _check_part(magic, cflag, wanted, offset=offset, path=path)
        if offset + PART.size + length > num_bytes:
            raise RecordError(
                f"{path}: truncated or corrupt: the record at offset {start} needs {length} bytes from {offset + PART.size}, "
                f"the file ends at {num_bytes}"
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
        raise RecordError(f"{path}: no record starts at offset {offset}: expected the magic 0x{MAGIC:08x}, found 0x{magic:08x}")
    if cflag not in ((WHOLE, FIRST) if wanted == WHOLE else (MIDDLE, LAST)):
        raise RecordError(f"{path}: the part at offset {offset} has flag {cflag}: parts of a record are missing or in the wrong order")


def read_headers(fd: int, offsets: IntArray, *, num_bytes: int, path: Path) -> HeaderColumns:
    """Return the headers of the records at `offsets` (m,), reading the file forwards in blocks."""
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
    _mend_headers(words, ordered, fd=fd, num_bytes=num_bytes, path=path)
    if order is not None:
        words[order] = words.copy()
    flag = words[:, 2].copy()
    label = np.where(flag > 0, words[:, 8], words[:, 3]).astype("<u4").view("<f4").astype(np.float32)
    return HeaderColumns(flag, label, np.ascontiguousarray(words[:, 4:6]).view("<u8").ravel(), words[:, 1] & np.uint32(MAX_LENGTH))


def _mend_headers(words: NDArray[np.uint32], offsets: IntArray, *, fd: int, num_bytes: int, path: Path) -> None:
    """Refuse what is no record; read whole the few records whose header itself may be split."""
    lengths = words[:, 1] & MAX_LENGTH
    odd = (words[:, 0] != MAGIC) | (words[:, 1] >> LENGTH_BITS != WHOLE) | (lengths < HEADER.size + 4 * (words[:, 2] > 0))
    for row in np.flatnonzero(odd | (offsets + PART.size + lengths > num_bytes)):
        offset = int(offsets[row])
        data = read_record_at(fd, offset, num_bytes=num_bytes, guess=GUESSED_BYTES, path=path).data
        record = unpack_record(data, where=f"{path}: record at offset {offset}")
        head = data[: HEADER.size + 4 * min(record.header.flag, 1)]
        words[row, 2 : 2 + len(head) // 4] = np.frombuffer(head, dtype="<u4")


def scan_offsets(path: Path) -> IntArray:
    """Return the offsets (n,) at which records start, found by walking the file from its beginning.

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
            raise RecordError(f"{path}: truncated: its last record goes on to offset {offset}, the file ends at {num_bytes}")
    finally:
        os.close(fd)
    return np.concatenate([*found, np.array(starts, dtype=np.int64)])


def scan_index(path: Path) -> RecordIndex:
    """Return the index of a .rec file that has none, as `RecordReader` describes it."""
    logger.info("no index beside %s: scanning it; 'transface pack index' writes one", path)
    offsets = scan_offsets(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        ids = read_headers(fd, offsets, num_bytes=os.fstat(fd).st_size, path=path).id
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


class RecordWriter:
    """Writes a .rec file and its .idx; both appear under their names only when `close` is reached without an error.

    Use it as a context manager. Records go to `<name>.partial`; an error inside the block removes these and leaves older
    files as they were.
    """

    def __init__(self, path_rec: str | Path, path_idx: str | Path | None = None) -> None:
        self.path = Path(path_rec)
        self.path_idx = Path(path_idx) if path_idx is not None else self.path.with_suffix(".idx")
        if self.path_idx == self.path:
            raise ValueError(f"the records and their index need two names, got {self.path} for both")
        self._rec = _partial(self.path).open("wb")
        self._idx = _partial(self.path_idx).open("w", encoding="ascii", newline="\n")
        self._offset = 0
        self._last_key = -1
        self._seen: set[int] | None = None  # only once keys stop ascending

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

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
        self._idx.write(f"{int(key)}\t{self._offset}\n")
        self._offset += len(parts)

    def _take_key(self, key: int) -> None:
        if key < 0:
            raise ValueError(f"keys of records are 0 or more, got {key}")
        if self._seen is None and key <= self._last_key:
            self._seen = self._written_keys()
        if self._seen is not None:
            if key in self._seen:
                raise ValueError(f"{self.path}: key {key} was written before")
            self._seen.add(key)
        self._last_key = key

    def _written_keys(self) -> set[int]:
        self._idx.flush()
        with _partial(self.path_idx).open("rb") as file:
            return {int(line.split(b"\t")[0]) for line in file}

    def close(self) -> None:
        """Finish both files and give them their names: the old index goes first, so that it never stands beside new records."""
        if self._rec.closed:
            return
        for file in (self._rec, self._idx):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        self.path_idx.unlink(missing_ok=True)
        _partial(self.path).replace(self.path)
        _partial(self.path_idx).replace(self.path_idx)

    def abort(self) -> None:
        """Drop what was written."""
        for file, path in ((self._rec, self.path), (self._idx, self.path_idx)):
            file.close()
            _partial(path).unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")
