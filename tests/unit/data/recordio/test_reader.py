"""RecordIO against bytes written by mxnet 1.9.1, against a naive writer, and against broken files."""

import base64
import json
import multiprocessing
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transface.data.recordio.parts import MAGIC_BYTES, scan_offsets, split_parts
from transface.data.recordio.reader import (
    MissingKeyError,
    RecordError,
    RecordHeader,
    RecordReader,
    RecordWriter,
)


def naive_parts(data: bytes) -> bytes:
    """The format word by word: walk 4 bytes at a time, and cut where they are the magic."""
    pieces, piece, at = [], b"", 0
    while at < len(data):
        word = data[at : at + 4]
        if word == b"\x0a\x23\xd7\xce":
            pieces.append(piece)
            piece = b""
        else:
            piece += word
        at += 4
    pieces.append(piece)
    out = b""
    for number, piece in enumerate(pieces):
        cflag = 0 if len(pieces) == 1 else 1 if number == 0 else 3 if number == len(pieces) - 1 else 2
        out += b"\x0a\x23\xd7\xce" + struct.pack("<I", cflag * 2**29 + len(piece)) + piece
        while len(out) % 4:
            out += b"\0"
    return out


@pytest.fixture
def small(tmp_path: Path) -> Path:
    with RecordWriter(tmp_path / "a.rec", tmp_path / "a.idx") as writer:
        for key in range(5):
            writer.write(key, RecordHeader(0, float(key), key), bytes([key]) * (10 * key))
    return tmp_path / "a.rec"


def test_the_file_of_mxnet_is_read_as_recorded(shared: Path) -> None:
    reader = RecordReader(shared / "parity/recordio/edge.rec")
    expected = json.loads((shared / "parity/recordio/edge.expected.json").read_text())
    assert list(reader.keys()) == [entry["key"] for entry in expected]
    for entry in expected:
        record = reader[entry["key"]]
        assert record.payload == base64.b64decode(entry["payload_base64"]), entry["note"]
        assert isinstance(record.header.label, np.ndarray) == entry["label_is_array"]
        assert np.atleast_1d(record.header.label).tolist() == entry["label"]
        assert record.header.id == entry["id"]


def test_the_file_of_mxnet_is_written_byte_for_byte(shared: Path, tmp_path: Path) -> None:
    source = shared / "parity/recordio/edge.rec"
    reader = RecordReader(source)
    with RecordWriter(tmp_path / "edge.rec", tmp_path / "edge.idx") as writer:
        for key in reader.keys():  # noqa: SIM118
            writer.write(key, *reader[key])
    assert (tmp_path / "edge.rec").read_bytes() == source.read_bytes()
    assert (tmp_path / "edge.idx").read_bytes() == source.with_suffix(".idx").read_bytes()


@given(st.lists(st.sampled_from([MAGIC_BYTES, b"\x0a", b"\x0a\x23", b"abcd", b"\0\0\0\0", b"x", b"\xce"]), max_size=12))
@settings(max_examples=200, deadline=None)
def test_parts_are_those_of_the_naive_writer(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert b"".join(split_parts(data)) == naive_parts(data)


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.floats(width=32, allow_nan=False),
                st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4),
            ),
            st.integers(0, 2**64 - 1),
            st.lists(st.sampled_from([MAGIC_BYTES, b"ab", b"\0", b"word"]), max_size=8).map(b"".join),
        ),
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, records: list[tuple]) -> None:
    folder = tmp_path_factory.mktemp("round")
    with RecordWriter(folder / "r.rec", folder / "r.idx") as writer:
        for number, (label, id_, payload) in enumerate(records):
            writer.write(
                3 * number, RecordHeader(0, np.float32(label) if np.ndim(label) == 0 else label, id_, 7), payload
            )
    reader = RecordReader(folder / "r.rec")
    assert scan_offsets(folder / "r.rec").tolist() == reader.index.offsets.tolist()
    columns = reader.headers()
    for number, (label, id_, payload) in enumerate(records):
        header, found = reader[3 * number]
        assert (found, header.id, header.id2) == (payload, id_, 7)
        assert np.array_equal(np.float32(label), header.label)
        assert header.flag == (len(label) if np.ndim(label) else 0) == columns.flag[number]
        assert columns.label[number] == np.ravel(np.float32(label))[0]
        assert columns.id[number] == id_


def test_headers_of_chosen_positions_come_in_the_order_asked(small: Path) -> None:
    reader = RecordReader(small)
    assert reader.headers(np.array([4, 0, 2])).label.tolist() == [4, 0, 2]


@pytest.mark.parametrize("ascending", [True, False])
def test_many_records_are_those_read_one_by_one(tmp_path: Path, ascending: bool) -> None:
    payloads = [b"", MAGIC_BYTES * 3, b"x" * 9000, b"abc", b"y" * 40000, MAGIC_BYTES + b"12"]
    keys = list(range(6)) if ascending else [5, 0, 3, 1, 4, 2]
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key in keys:
            writer.write(key, RecordHeader(0, 0.0), payloads[key])
    if not ascending:  # the index in another order than the file
        lines = (tmp_path / "a.idx").read_text().splitlines(keepends=True)
        (tmp_path / "a.idx").write_text("".join(sorted(lines)))
    reader = RecordReader(tmp_path / "a.rec")
    positions = np.array([5, 1, 1, 0, 4, 2, 3])
    assert reader.raw_many(positions) == [reader.raw_at(int(position)) for position in positions]
    assert [raw[24:] for raw in reader.raw_many(reader.index.positions(np.arange(6)))] == payloads


def test_keys_may_stand_in_any_order_with_gaps(tmp_path: Path) -> None:
    keys = [40, 3, 17, 5]
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key in keys:
            writer.write(key, RecordHeader(0, 0.0), b"%d" % key)
    reader = RecordReader(tmp_path / "a.rec")
    assert list(reader.keys()) == keys == list(reader)
    assert [reader[key].payload for key in sorted(keys)] == [b"3", b"5", b"17", b"40"]
    assert 17 in reader
    assert 16 not in reader


@pytest.mark.parametrize("missing", [2.5, -0.5, 1 << 63, 1 << 70, -(1 << 70)])
@pytest.mark.parametrize("keys", [(1, 2, 3), (7, 2, 3)], ids=["consecutive", "any"])
def test_no_number_is_cut_down_to_a_key_or_too_large_to_ask_for(
    tmp_path: Path, keys: tuple[int, ...], missing: float
) -> None:
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key in keys:
            writer.write(key, RecordHeader(0, 0.0), b"%d" % key)
    reader = RecordReader(tmp_path / "a.rec")
    assert missing not in reader
    with pytest.raises(MissingKeyError, match="no key"):
        reader[missing]
    assert reader[np.float32(2)].payload == reader[np.uint64(2)].payload == b"2"


@pytest.mark.parametrize("missing", [-1, 5, 10**12])
def test_a_missing_key_is_named(small: Path, missing: int) -> None:
    with pytest.raises(MissingKeyError, match=rf"a\.idx: no key {missing} among its 5 records"):
        RecordReader(small)[missing]
    with pytest.raises(KeyError):
        RecordReader(small)[missing]


def test_without_an_index_the_file_is_scanned(small: Path) -> None:
    before = RecordReader(small)
    (small.with_suffix(".idx")).unlink()
    after = RecordReader(small)
    assert np.array_equal(before.keys(), after.keys())
    assert all(after[key].payload == before[key].payload for key in range(5))


def test_a_scan_takes_the_ids_for_keys_where_they_number_the_records(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key in (3, 1, 2):
            writer.write(key, RecordHeader(0, 0.0, key), b"%d" % key)
    (tmp_path / "a.idx").unlink()
    reader = RecordReader(tmp_path / "a.rec")
    assert list(reader.keys()) == [3, 1, 2]
    assert reader[3].payload == b"3"


def test_a_scan_counts_where_ids_do_not_number_the_records(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key in range(3):
            writer.write(key + 10, RecordHeader(0, 0.0, 77), b"%d" % key)
    (tmp_path / "a.idx").unlink()
    assert list(RecordReader(tmp_path / "a.rec").keys()) == [0, 1, 2]


def test_every_truncation_is_refused_by_offset(small: Path) -> None:
    whole = small.read_bytes()
    index = small.with_suffix(".idx").read_bytes()
    for size in range(0, len(whole) - 3, 3):
        small.write_bytes(whole[:size])
        small.with_suffix(".idx").write_bytes(index)
        with pytest.raises(RecordError, match=r"a\.rec.*truncated.*offset \d+"):
            RecordReader(small)
        small.with_suffix(".idx").unlink()
        offsets = [int(line.split()[1]) for line in index.splitlines()]
        if size in offsets:
            assert len(RecordReader(small)) == offsets.index(
                size
            )  # a cut between two records cannot be seen without an index
        else:
            with pytest.raises(RecordError, match=r"a\.rec.*truncated"):
                RecordReader(small)


def test_a_wrong_magic_is_refused_by_file_and_offset(small: Path) -> None:
    data = bytearray(small.read_bytes())
    offset = int(RecordReader(small).index.offsets[2])
    data[offset] ^= 0xFF
    small.write_bytes(data)
    reader = RecordReader(small)
    with pytest.raises(
        RecordError, match=rf"a\.rec: no record starts at offset {offset}: expected the magic 0xced7230a, found 0x"
    ):
        reader[2]
    with pytest.raises(RecordError, match=f"offset {offset}"):
        reader.headers()
    assert reader[1].header.label == 1
    assert reader[3].header.label == 3


def test_a_length_beyond_the_file_takes_no_memory(small: Path) -> None:
    data = bytearray(small.read_bytes())
    data[4:8] = struct.pack("<I", 2**29 - 1)
    small.write_bytes(data)
    with pytest.raises(RecordError, match=r"offset 0 needs 536870911 bytes"):
        RecordReader(small)[0]


def test_a_record_too_short_for_its_labels_is_refused(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "a.rec") as writer:
        writer.write_raw(0, struct.pack("<IfQQ", 1000, 0, 0, 0))
        writer.write_raw(1, b"short")
    reader = RecordReader(tmp_path / "a.rec")
    with pytest.raises(RecordError, match="promises 1000 labels"):
        reader[0]
    with pytest.raises(RecordError, match="has 5 in all"):
        reader[1]
    assert reader.raw(1) == b"short"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no record file .*absent\.rec"):
        RecordReader(tmp_path / "absent.rec")


def test_a_writer_that_fails_leaves_the_older_files(small: Path) -> None:
    before = small.read_bytes(), small.with_suffix(".idx").read_bytes()

    def fail() -> None:
        with RecordWriter(small) as writer:
            writer.write(0, RecordHeader(0, 1.0), b"other")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert (small.read_bytes(), small.with_suffix(".idx").read_bytes()) == before
    assert sorted(path.name for path in small.parent.iterdir()) == ["a.idx", "a.rec"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device on which every write fails")
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("payload", [10, 1 << 20])
def test_a_full_disk_leaves_no_partial_files_but_those_to_go_on_with(small: Path, payload: int, resume: bool) -> None:
    """A small record fails when the files are closed, a large one inside the block."""
    before = {path.name: path.read_bytes() for path in small.parent.iterdir()}
    writer = RecordWriter(small, resume=resume)
    writer._rec.close()
    writer._rec = open("/dev/full", "wb")  # noqa: SIM115

    def fill() -> None:
        with writer:
            writer.write(0, RecordHeader(0, 0.0), b"x" * payload)

    with pytest.raises(OSError, match="No space left"):
        fill()
    assert writer._rec.closed
    assert writer._idx.closed
    left = {path.name: path.read_bytes() for path in small.parent.iterdir()}
    assert {name: data for name, data in left.items() if not name.endswith(".partial")} == before
    assert (left != before) is resume


def test_a_writer_whose_index_cannot_be_opened_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RecordWriter(tmp_path / "a.rec", tmp_path / "no such folder/a.idx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keys", [[0, 0], [4, 2, 4], [3, 1, 2, 1]])
def test_a_key_is_written_once(tmp_path: Path, keys: list[int]) -> None:
    writer = RecordWriter(tmp_path / "a.rec")
    for key in keys[:-1]:
        writer.write(key, RecordHeader(0, 0.0), b"")
    with pytest.raises(ValueError, match=rf"key {keys[-1]} was written before"):
        writer.write(keys[-1], RecordHeader(0, 0.0), b"")
    writer.abort()
    assert not list(tmp_path.iterdir())


def test_a_reader_crosses_threads_and_pickles(small: Path) -> None:
    reader = RecordReader(small)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda key: reader[key % 5].payload, range(200)))
    assert found == [reader[key % 5].payload for key in range(200)]
    again = pickle.loads(pickle.dumps(reader))
    assert again[3] == reader[3]


def _payload(reader: RecordReader, key: int) -> bytes:
    return reader[key].payload


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_crosses_processes(small: Path, method: str) -> None:
    if method == "spawn":
        pytest.importorskip("torch")
    reader = RecordReader(small)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(type(reader).raw, [(reader, key) for key in range(5)]) == [
            reader.raw(key) for key in range(5)
        ]
