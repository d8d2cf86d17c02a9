"""RecordIO against the real mxnet 1.9.1, each way, byte for byte. Run by `make test-mxnet` in an environment of its
own.

No fixtures of tests/conftest.py here: that environment has neither torch nor this package's other needs.
"""

import random
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

mxnet = pytest.importorskip("mxnet", reason="make test-mxnet runs these in an environment with mxnet")

from transface.data.recordio.parts import scan_offsets  # noqa: E402
from transface.data.recordio.reader import RecordHeader, RecordReader, RecordWriter  # noqa: E402

MAGIC = struct.pack("<I", 0xCED7230A)
WORDS = [MAGIC, MAGIC[:2], MAGIC[1:], b"\0\0\0\0", b"a", b"abcd", b"\xff\xd8\xff\xe0"]


class Sample(NamedTuple):
    key: int
    label: object
    id: int
    id2: int
    payload: bytes


def samples(seed: int) -> list[Sample]:
    """Records of every kind: scalar and array labels, empty and long payloads, magic numbers on and off the
    boundary.
    """
    draw = random.Random(seed)
    keys = sorted(draw.sample(range(1000), 40))
    drawn = []
    for key in keys:
        label: object = float(np.float32(draw.uniform(-1e6, 1e6)))
        if draw.random() < 0.4:
            label = np.array([draw.uniform(-9, 9) for _ in range(draw.randint(1, 7))], dtype=np.float32)
        if draw.random() < 0.1:
            label = struct.unpack("<f", MAGIC)[0]  # the header itself holds the magic number
        payload = b"".join(draw.choices(WORDS, k=draw.choice([0, 1, 5, 40, 3000])))
        drawn.append(Sample(key, label, draw.randrange(2**63), draw.randrange(2**63), payload))
    return drawn


def write_with_mxnet(folder: Path, records: list[Sample]) -> Path:
    writer = mxnet.recordio.MXIndexedRecordIO(str(folder / "mx.idx"), str(folder / "mx.rec"), "w")
    for key, label, id_, id2, payload in records:
        writer.write_idx(key, mxnet.recordio.pack(mxnet.recordio.IRHeader(0, label, id_, id2), payload))
    writer.close()
    return folder / "mx.rec"


def write_with_transface(folder: Path, records: list[Sample]) -> Path:
    with RecordWriter(folder / "tf.rec", folder / "tf.idx") as writer:
        for key, label, id_, id2, payload in records:
            writer.write(key, RecordHeader(0, label, id_, id2), payload)
    return folder / "tf.rec"


@pytest.mark.parametrize("seed", range(10))
def test_both_write_the_same_bytes(tmp_path: Path, seed: int) -> None:
    theirs, ours = write_with_mxnet(tmp_path, samples(seed)), write_with_transface(tmp_path, samples(seed))
    assert ours.read_bytes() == theirs.read_bytes()
    assert ours.with_suffix(".idx").read_bytes() == theirs.with_suffix(".idx").read_bytes()


@pytest.mark.parametrize("seed", range(10))
def test_what_mxnet_wrote_is_read(tmp_path: Path, seed: int) -> None:
    records = samples(seed)
    reader = RecordReader(write_with_mxnet(tmp_path, records))
    assert list(reader.keys()) == [record.key for record in records]
    assert scan_offsets(reader.path).tolist() == reader.index.offsets.tolist()
    many = reader.raw_many(np.arange(len(records)))
    for place, record in enumerate(records):
        header, payload = reader[record.key]
        assert payload == record.payload
        assert (header.id, header.id2) == (record.id, record.id2)
        assert np.array_equal(np.float32(record.label), np.float32(header.label))
        assert header.flag == (len(record.label) if isinstance(record.label, np.ndarray) else 0)
        assert many[place].endswith(payload)


@pytest.mark.parametrize("seed", range(10))
def test_what_transface_wrote_is_read_by_mxnet(tmp_path: Path, seed: int) -> None:
    records = samples(seed)
    path = write_with_transface(tmp_path, records)
    reader = mxnet.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "r")
    assert reader.keys == [record.key for record in records]
    for record in reversed(records):
        header, payload = mxnet.recordio.unpack(reader.read_idx(record.key))
        assert payload == record.payload
        assert (header.id, header.id2) == (record.id, record.id2)
        assert np.array_equal(np.float32(record.label), np.float32(header.label))
    reader.close()


def test_the_headers_of_a_whole_file_are_those_of_mxnet(tmp_path: Path) -> None:
    records = samples(99)
    path = write_with_mxnet(tmp_path, records)
    columns = RecordReader(path).headers()
    reader = mxnet.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "r")
    for place, record in enumerate(records):
        header, _ = mxnet.recordio.unpack(reader.read_idx(record.key))
        assert columns.flag[place] == header.flag
        assert columns.id[place] == header.id
        assert columns.label[place] == np.float32(np.ravel(header.label)[0])
    reader.close()
