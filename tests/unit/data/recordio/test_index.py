"""The index: what it reads, what it refuses, and that many records share one mapped file."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from transface.data.recordio import index as record_index
from transface.data.recordio.index import RecordIndex, read_index


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("text", ["0\t0\n1\t40\n", "0\t0\n1\t40", "0 0\r\n1   40\r\n", "\n0\t0\n\n1\t40\n"])
def test_lines_are_read_with_and_without_the_last_newline(tmp_path: Path, text: str) -> None:
    index = read_index(write(tmp_path / "a.idx", text))
    assert index.keys().tolist() == [0, 1]
    assert index.offsets.tolist() == [0, 40]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0\t0\nx\t4\n", r"line 2 must be 'key<TAB>offset', got b'x\\t4'"),
        ("0\t0\t0\n", "line 1 must be"),
        ("0\n0\t4\t8\n", "line 1 must be"),
        ("0\t0\n-1\t4\n", "line 2 must be"),
        ("0\t0\n1\t1.5\n", "line 2 must be"),
        ("0\t99999999999999999999\n", "line 1 must be"),
        ("0\t0\n1\t6\n", "line 2 has offset 6; records start at multiples of 4"),
        ("0\t0\n7\t4\n0\t8\n", "key 0 stands in it twice"),
    ],
)
def test_other_lines_are_refused_by_number(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.compile(rf"a\.idx.*{complaint}", re.S)):
        read_index(write(tmp_path / "a.idx", text))


def test_an_empty_index_has_no_records(tmp_path: Path) -> None:
    index = read_index(write(tmp_path / "a.idx", ""))
    assert len(index) == 0
    assert index.position(0) == -1


def test_blocks_meet_without_losing_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_index, "BLOCK_BYTES", 37)
    generator = np.random.default_rng(0)
    keys = generator.permutation(500) * 3
    offsets = np.cumsum(generator.integers(1, 10**6, 500)) * 4
    text = "".join(f"{key}\t{offset}\n" for key, offset in zip(keys, offsets, strict=True))
    index = read_index(write(tmp_path / "a.idx", text))
    assert np.array_equal(index.keys(), keys)
    assert np.array_equal(index.offsets, offsets)


def test_a_line_without_end_is_refused_early(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is it an \.idx file"):
        read_index(write(tmp_path / "a.idx", "1" * (3 * record_index.BLOCK_BYTES)))


@pytest.mark.parametrize("keys", [None, np.array([2, 4, 9, 11]), np.array([9, 2, 11, 4])])
def test_positions_are_those_of_a_dictionary(keys: np.ndarray | None) -> None:
    index = RecordIndex(keys, np.arange(4) * 8, first_key=3)
    naive = {int(key): position for position, key in enumerate(index.keys())}
    for key in range(-2, 14):
        assert index.position(key) == naive.get(key, -1)
    asked = np.arange(-2, 14)
    assert index.positions(asked).tolist() == [naive.get(int(key), -1) for key in asked]
    assert [index.key_at(position) for position in range(4)] == index.keys().tolist()


@pytest.mark.parametrize("consecutive", [True, False])
def test_a_large_index_is_kept_once_and_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, consecutive: bool
) -> None:
    monkeypatch.setattr(record_index, "CACHED_FROM", 100)
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "cache"))
    keys = np.arange(200) if consecutive else np.random.default_rng(0).permutation(200) * 2
    path = write(tmp_path / "a.idx", "".join(f"{key}\t{4 * at}\n" for at, key in enumerate(keys)))
    first = read_index(path)
    assert len(list((tmp_path / "cache" / "index").iterdir())) == 1
    monkeypatch.setattr(record_index, "_read_text", None)  # from here on the text is not read
    for index in (read_index(path), pickle.loads(pickle.dumps(first))):
        assert isinstance(index.offsets, np.memmap)
        assert np.array_equal(index.keys(), keys)
        assert index.position(int(keys[150])) == 150
    assert len(pickle.dumps(first)) < 1000


def test_a_changed_index_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_index, "CACHED_FROM", 2)
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "a.idx", "0\t0\n1\t4\n2\t8\n")
    assert len(read_index(path)) == 3
    write(path, "0\t0\n1\t4\n2\t8\n3\t12\n")
    assert len(read_index(path)) == 4


def test_a_broken_kept_index_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_index, "CACHED_FROM", 2)
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "a.idx", "0\t0\n1\t4\n2\t8\n")
    read_index(path)
    (kept,) = (tmp_path / "cache" / "index").iterdir()
    kept.write_bytes(kept.read_bytes()[:40])
    assert read_index(path).offsets.tolist() == [0, 4, 8]


def test_without_a_cache_folder_the_index_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_index, "CACHED_FROM", 2)
    monkeypatch.setenv("TRANSFACE_CACHE", str(write(tmp_path / "a_file", "")))
    index = read_index(write(tmp_path / "a.idx", "0\t0\n1\t4\n2\t8\n"))
    assert pickle.loads(pickle.dumps(index)).offsets.tolist() == [0, 4, 8]
