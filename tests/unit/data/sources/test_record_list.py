"""RecordIO with a .lst: labels come from the list, by key."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from transface.data.recordio.reader import RecordHeader, RecordWriter
from transface.data.sources.record_list import RecordList, read_list
from transface.images.decoding import decode_images


@pytest.fixture
def rec(tmp_path: Path, make_jpeg: Callable) -> Path:
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key in (5, 2, 9):
            writer.write(key, RecordHeader(0, 77.0, key), make_jpeg(key))
    return tmp_path / "a.rec"


def test_labels_come_from_the_list_by_key(rec: Path, make_jpeg: Callable) -> None:
    rec.with_suffix(".lst").write_text("9\t1.000000\tx/9.jpg\n5\t0\tx/5.jpg\n2\t3\t0.5\tx/2 b.jpg\n")
    faces = RecordList(rec)
    assert faces.labels.tolist() == [1, 0, 3]
    assert faces.num_identities == 4
    batch = faces.__getitems__([2, 0])
    assert torch.equal(batch.images, decode_images([make_jpeg(2), make_jpeg(9)]))
    assert batch.labels.tolist() == [3, 1]
    assert faces.encoded(1) == make_jpeg(5)
    assert read_list(rec.with_suffix(".lst"))[2].path == "x/2 b.jpg"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "lists no images"),
        ("x\t1\ta.jpg\n", "line 1 must be 'key<TAB>label<TAB>path'"),
        ("5\t0\ta\n\n5 0 a\n", "line 3 must be"),
        ("5\ta.jpg\n", "line 1 must be"),
        ("5\t0.5\ta\n", "key 5 has label 0.5"),
        ("5\t-1\ta\n", "key 5 has label -1"),
        ("5\tnan\ta\n", "key 5 has label nan"),
        ("5\t0\ta\n5\t1\ta\n", "key 5 is listed twice"),
        ("5\t0\ta\n6\t1\ta\n", r"key 6 is not in .*a\.idx \(1 such"),
        ("99999999999999999999999\t0\ta\n", "line 1 must be"),
    ],
)
def test_a_wrong_list_is_refused(rec: Path, text: str, complaint: str) -> None:
    rec.with_suffix(".lst").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.lst.*{complaint}"):
        RecordList(rec)


def test_a_missing_list_is_named(rec: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no list .*a\.lst"):
        RecordList(rec)
