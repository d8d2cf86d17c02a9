"""InsightFace packs: with and without the header record, and every contradiction refused by name."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from transface.data.recordio.reader import RecordError, RecordHeader, RecordWriter
from transface.data.sources.identity_pack import IdentityPack, read_property
from transface.images.decoding import ImageError, decode_images

LABELS = [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("header", [True, False])
def test_images_and_labels_are_those_written(
    tmp_path: Path, make_pack: Callable, make_jpeg: Callable, header: bool
) -> None:
    pack = IdentityPack(make_pack(tmp_path, LABELS, header=header))
    assert (len(pack), pack.num_identities) == (6, 3)
    assert pack.labels.dtype == np.int64
    assert pack.labels.tolist() == LABELS
    assert [pack.encoded(index) for index in range(6)] == [make_jpeg(index) for index in range(6)]
    batch = pack.__getitems__([4, 0, 5])
    assert torch.equal(batch.images, decode_images([make_jpeg(4), make_jpeg(0), make_jpeg(5)]))
    assert batch.labels.tolist() == [1, 0, 2]
    assert batch.labels.dtype == batch.keys.dtype == torch.int64
    assert batch.keys.tolist() == [4, 0, 5]


def test_a_pickled_pack_reads_the_same(tmp_path: Path, make_pack: Callable) -> None:
    pack = IdentityPack(make_pack(tmp_path, LABELS))
    again = pickle.loads(pickle.dumps(pack))
    assert torch.equal(again.__getitems__([3]).images, pack.__getitems__([3]).images)
    assert np.array_equal(again.labels, pack.labels)


def test_without_an_index_a_pack_reads_the_same(tmp_path: Path, make_pack: Callable) -> None:
    pack = IdentityPack(make_pack(tmp_path, LABELS))
    (tmp_path / "train.idx").unlink()
    again = IdentityPack(tmp_path)
    assert np.array_equal(again.labels, pack.labels)
    assert [again.encoded(index) for index in range(6)] == [pack.encoded(index) for index in range(6)]


def test_array_labels_count_by_their_first_number(tmp_path: Path, make_jpeg: Callable) -> None:
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key in range(3):
            writer.write(key, RecordHeader(0, np.array([key, 9.5], dtype=np.float32)), make_jpeg(key))
    pack = IdentityPack(tmp_path)
    assert pack.labels.tolist() == [0, 1, 2]
    assert pack.__getitems__([2, 1]).labels.tolist() == [2, 1]
    assert pack.num_identities == 3


def test_keys_in_any_order_are_sorted(tmp_path: Path, make_jpeg: Callable) -> None:
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key in (3, 1, 2):
            writer.write(key, RecordHeader(0, float(key - 1)), make_jpeg(key))
        writer.write(0, RecordHeader(2, np.array([4, 7], dtype=np.float32)), b"")
    assert IdentityPack(tmp_path).labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("label", [3.0, -1.0, 0.5, float("nan"), float("inf")])
def test_a_label_out_of_range_is_refused_by_key(tmp_path: Path, make_pack: Callable, label: float) -> None:
    make_pack(tmp_path, LABELS)
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key, value in enumerate([0.0, label, 2.0]):
            writer.write(key, RecordHeader(0, value), b"x")
    with pytest.raises(ValueError, match=r"train\.rec: key 1 has label .*whole numbers in 0\.\.2"):
        IdentityPack(tmp_path)


@pytest.mark.parametrize("text", ["", "3,112", "3,112,112,9", "three,112,112", "0,112,112", "3.5,112,112", "3,-1,112"])
def test_a_wrong_property_file_is_refused(tmp_path: Path, make_pack: Callable, text: str) -> None:
    make_pack(tmp_path, LABELS)
    (tmp_path / "property").write_text(text)
    with pytest.raises(ValueError, match=r"property must"):
        IdentityPack(tmp_path)


def test_a_property_file_of_another_size_is_refused(tmp_path: Path, make_pack: Callable) -> None:
    make_pack(tmp_path, LABELS)
    (tmp_path / "property").write_text("3,128,128")
    with pytest.raises(ValueError, match=r"property must be 112x112, got 128x128; fit=resize takes"):
        IdentityPack(tmp_path)
    assert read_property(tmp_path / "property") == (3, (128, 128))


def test_without_a_property_file_the_labels_count(tmp_path: Path, make_pack: Callable) -> None:
    make_pack(tmp_path, LABELS)
    (tmp_path / "property").unlink()
    assert IdentityPack(tmp_path).num_identities == 3
    assert IdentityPack(tmp_path, num_identities=10).num_identities == 10


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no data folder .*absent"):
        IdentityPack(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"no train\.rec in .*which holds nothing"):
        IdentityPack(tmp_path)
    (tmp_path / "other.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"which holds other\.txt"):
        IdentityPack(tmp_path)
    (tmp_path / "train.rec").touch()
    with pytest.raises(ValueError, match="holds no images"):
        IdentityPack(tmp_path)


@pytest.mark.parametrize("limits", [[100, 103], [0, 3], [float("nan"), 2], [7, 3]])
def test_a_header_record_beyond_the_file_is_refused(tmp_path: Path, make_jpeg: Callable, limits: list[float]) -> None:
    with RecordWriter(tmp_path / "train.rec") as writer:
        writer.write(0, RecordHeader(2, np.array(limits, dtype=np.float32)), b"")
        writer.write(1, RecordHeader(0, 0.0), make_jpeg(0))
    with pytest.raises(RecordError, match="header"):
        IdentityPack(tmp_path)


def test_a_broken_image_is_named_by_key_and_file(tmp_path: Path, make_pack: Callable) -> None:
    pack = IdentityPack(make_pack(tmp_path, LABELS, payloads={3: b"\xff\xd8\xff broken"}))
    with pytest.raises(ImageError, match=r"image of key 4 in .*train\.rec cannot be decoded") as caught:
        pack.__getitems__([0, 5, 3])
    assert caught.value.index == 2


def test_a_broken_record_is_named_by_key_and_offset(tmp_path: Path, make_pack: Callable) -> None:
    pack = IdentityPack(make_pack(tmp_path, LABELS))
    data = bytearray((tmp_path / "train.rec").read_bytes())
    offset = int(pack.reader.index.offsets[3])
    data[offset + 8 : offset + 12] = b"\xff\xff\xff\x7f"  # the flag: so many labels cannot follow
    (tmp_path / "train.rec").write_bytes(data)
    with pytest.raises(RecordError, match=r"train\.rec: key 3: the header promises 2147483647 labels"):
        pack.__getitems__([0, 2, 1])


@pytest.mark.parametrize("index", [-1, 6])
def test_an_index_outside_is_refused(tmp_path: Path, make_pack: Callable, index: int) -> None:
    pack = IdentityPack(make_pack(tmp_path, LABELS))
    with pytest.raises(IndexError, match="no image"):
        pack.__getitems__([0, index])
    with pytest.raises(IndexError, match="no image"):
        pack.encoded(index)


def test_the_real_pack_is_read(shared: Path) -> None:
    pack = IdentityPack(shared / "data/real/cfp500")
    assert (len(pack), pack.num_identities) == (7000, 500)
    assert np.bincount(pack.labels).tolist() == [14] * 500
    assert pack.__getitems__(range(0, 7000, 500)).images.shape == (14, 3, 112, 112)
