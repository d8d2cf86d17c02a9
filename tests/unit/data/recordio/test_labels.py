"""Labels of a pack: those of its headers, read a part at a time, and of a large file read once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transface.data.recordio import labels as record_labels
from transface.data.recordio.headers import HeaderColumns
from transface.data.recordio.reader import RecordHeader, RecordReader, RecordWriter
from transface.data.sources import identity_pack as identities
from transface.data.sources.identity_pack import IdentityPack

LABELS = [number % 7 for number in range(50)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder, and limits at which every file counts as a large one."""
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(record_labels, "KEPT_FROM", 0)
    monkeypatch.setattr(record_labels, "AT_ONCE", 8)
    monkeypatch.setattr(identities, "READ_AT_OPENING", 0)
    return tmp_path / "cache"


@pytest.fixture
def read_headers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many headers each reading of them asked for."""
    asked: list[int] = []
    whole = RecordReader.headers

    def headers(self: RecordReader, positions: np.ndarray, *, mark_broken: bool = False) -> HeaderColumns:
        asked.append(len(positions))
        return whole(self, positions, mark_broken=mark_broken)

    monkeypatch.setattr(RecordReader, "headers", headers)
    return asked


def test_a_large_pack_opens_without_its_labels_and_reads_them_once(
    tmp_path: Path, make_pack: Callable, cache: Path, read_headers: list[int]
) -> None:
    root = make_pack(tmp_path / "pack", LABELS)
    pack = IdentityPack(root)
    assert (len(pack), pack.num_identities) == (50, 7)
    assert pack.__getitems__([3, 9]).labels.tolist() == [3, 2]
    assert read_headers == []
    assert pack.labels.tolist() == LABELS
    assert read_headers == [8] * 6 + [2]
    assert IdentityPack(root).labels.tolist() == LABELS
    assert sum(read_headers) == 50
    assert [path.suffix for path in (cache / "labels").iterdir()] == [".npy"]


def test_another_file_of_the_name_is_read_anew(tmp_path: Path, make_pack: Callable, cache: Path) -> None:
    assert IdentityPack(make_pack(tmp_path / "pack", LABELS)).labels.tolist() == LABELS
    assert IdentityPack(make_pack(tmp_path / "pack", [*LABELS[::-1], 6])).labels.tolist() == [*LABELS[::-1], 6]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY junk", None])
def test_broken_kept_labels_are_read_again(
    tmp_path: Path, make_pack: Callable, cache: Path, content: bytes | None
) -> None:
    root = make_pack(tmp_path / "pack", LABELS)
    assert IdentityPack(root).labels.tolist() == LABELS
    (kept,) = (cache / "labels").iterdir()
    if content is None:
        np.save(kept, np.zeros(3))
    else:
        kept.write_bytes(content)
    assert IdentityPack(root).labels.tolist() == LABELS


def test_without_a_place_to_keep_them_labels_are_read_each_time(
    tmp_path: Path, make_pack: Callable, cache: Path
) -> None:
    cache.write_text("a file where the folder should be")
    assert IdentityPack(make_pack(tmp_path / "pack", LABELS)).labels.tolist() == LABELS


def test_a_wrong_label_of_a_large_pack_is_met_with_its_image(tmp_path: Path, make_jpeg: Callable, cache: Path) -> None:
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key, label in enumerate([0.0, 1.5, 2.0, 9.0]):
            writer.write(key, RecordHeader(0, label), make_jpeg(key))
    (tmp_path / "property").write_text("3,112,112")
    pack = IdentityPack(tmp_path)
    assert pack.__getitems__([0, 2]).labels.tolist() == [0, 2]
    for index, label in ((1, "1.5"), (3, "9")):
        with pytest.raises(ValueError, match=rf"key {index} has label {label}, and labels are whole numbers in 0\.\.2"):
            pack.__getitems__([0, index])
    with pytest.raises(ValueError, match=r"key 1 has label 1.5.*\(2 such records\)"):
        _ = pack.labels


def test_records_to_be_skipped_have_no_label(tmp_path: Path, make_jpeg: Callable) -> None:
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key, label in enumerate([0.0, 1.5, 2.0, 9.0, 1.0]):
            writer.write(key, RecordHeader(0, label), make_jpeg(key))
    (tmp_path / "property").write_text("3,112,112")
    data = bytearray((tmp_path / "train.rec").read_bytes())
    offset = int(RecordReader(tmp_path / "train.rec").index.offsets[2])
    data[offset : offset + 4] = b"JUNK"
    (tmp_path / "train.rec").write_bytes(data)
    pack = IdentityPack(tmp_path, on_bad_record="skip")
    assert pack.labels.tolist() == [0, -1, -1, -1, 1]
    assert pack.__getitems__([0, 4]).labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"key 1 has label 1\.5.*\(3 such records\)"):
        IdentityPack(tmp_path)
    (tmp_path / "property").unlink()
    assert IdentityPack(tmp_path, on_bad_record="skip").num_identities == 10
