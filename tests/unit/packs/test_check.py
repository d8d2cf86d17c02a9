"""A check finds each fault that was put in, under its kind and key, and nothing in a clean pack."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import encode_jpeg

from transface.data.recordio.headers import RecordHeader
from transface.data.recordio.reader import RecordReader, RecordWriter
from transface.data.sources.identity_pack import IdentityPack
from transface.images.decoding import decode_images
from transface.packs.check import CheckReport, check_pack
from transface.packs.contact_sheet import SheetRow, sample_rows, suspect_rows, write_sheet
from transface.synthetic.datasets import make_faces, write_identity_pack

LABELS = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def kinds(root: Path, **words) -> dict[str, int]:
    return dict(check_pack(root, **words).counts)


def blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (112, 112), (90, 90, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_clean_pack_has_no_findings(tmp_path: Path) -> None:
    write_identity_pack(tmp_path, 12, images_per_identity=6)
    report = check_pack(tmp_path, num_threads=3)
    assert report.is_clean, report.findings
    assert (report.num_images, report.num_identities, report.num_records) == (72, 12, 85)
    assert report.images_per_identity == {"smallest": 6, "median": 6, "mean": 6, "largest": 6}
    assert report.histogram == {"5-9": 12}
    assert json.loads(json.dumps(report.as_dict()))["clean"] is True


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (lambda jpeg: b"\xff\xd8\xff broken", "undecodable"),
        (lambda jpeg: jpeg(0)[:900], "undecodable"),
        (lambda jpeg: b"", "undecodable"),
        (lambda jpeg: jpeg(50, side=96), "wrong_size"),
        (lambda jpeg: blank(), "blank"),
    ],
)
def test_a_bad_image_is_found_under_its_key(
    tmp_path: Path, make_pack: Callable, make_jpeg: Callable, payload: Callable, kind: str
) -> None:
    report = check_pack(make_pack(tmp_path, LABELS, payloads={4: payload(make_jpeg)}))
    assert dict(report.counts) == {kind: 1}
    finding = report.findings[kind][0]
    assert finding.keys == (5,)
    assert finding.labels == (1,)
    assert "key 5" in finding.detail


def test_equal_images_are_found_within_and_across_identities(
    tmp_path: Path, make_pack: Callable, make_jpeg: Callable
) -> None:
    payloads = {1: make_jpeg(0), 8: make_jpeg(5)}
    report = check_pack(make_pack(tmp_path, LABELS, payloads=payloads))
    assert dict(report.counts) == {"duplicate": 2}
    within, across = report.findings["duplicate"]
    assert (within.keys, within.labels) == ((1, 2), (0, 0))
    assert (across.keys, across.labels) == ((6, 9), (1, 2))
    assert "identities [1, 2]" in across.detail


def test_the_same_picture_compressed_anew_is_found(tmp_path: Path, make_pack: Callable) -> None:
    face = make_faces(1, 1).images[0].contiguous()
    first, again = (encode_jpeg(face, quality=quality).numpy().tobytes() for quality in (92, 75))
    report = check_pack(make_pack(tmp_path, LABELS, payloads={3: first, 7: again}))
    assert dict(report.counts) == {"near_duplicate": 1}
    assert report.findings["near_duplicate"][0].keys == (4, 8)


def test_wrong_labels_and_empty_identities_are_found(tmp_path: Path, make_pack: Callable, make_jpeg: Callable) -> None:
    make_pack(tmp_path, LABELS)
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key, label in enumerate([0.0, 4.0, 1.5, -1.0, float("nan"), 3.0]):
            writer.write(key, RecordHeader(0, label), make_jpeg(key))
    report = check_pack(tmp_path)
    assert report.counts["label_out_of_range"] == 3  # NaN counts as unknown below
    assert [finding.keys for finding in report.findings["label_out_of_range"]] == [(1,), (2,), (3,)]
    assert [finding.labels for finding in report.findings["empty_identity"]] == [(1,), (2,)]


def test_identities_without_images_are_counted_but_not_all_listed(tmp_path: Path, make_pack: Callable) -> None:
    make_pack(tmp_path, LABELS, header=False)
    (tmp_path / "property").write_text("5000,112,112")
    report = check_pack(tmp_path)
    assert report.counts == {"empty_identity": 4996}
    assert [finding.labels for finding in report.findings["empty_identity"]] == [(label,) for label in range(4, 1004)]


def test_identity_records_that_contradict_labels_are_found(tmp_path: Path, make_jpeg: Callable) -> None:
    with RecordWriter(tmp_path / "train.rec") as writer:
        writer.write(0, RecordHeader(2, np.array([5, 7], dtype=np.float32)), b"")
        for key in range(1, 5):
            writer.write(key, RecordHeader(0, float(key > 2)), make_jpeg(key))
        writer.write(5, RecordHeader(2, np.array([1, 3], dtype=np.float32)), b"")
        writer.write(6, RecordHeader(2, np.array([2, 4], dtype=np.float32)), b"")
    (tmp_path / "property").write_text("2,112,112")
    report = check_pack(tmp_path)
    assert dict(report.counts) == {"identity_range": 1}
    assert report.findings["identity_range"][0].labels == (1,)


def test_identity_records_of_a_large_pack_hold_rounded_keys(tmp_path: Path, make_jpeg: Callable) -> None:
    """Keys above 2^24 are not exact in the float32 of a record: Glint360K has 300,000 such images."""
    first = 2**24 + 1
    with RecordWriter(tmp_path / "train.rec") as writer:
        writer.write(0, RecordHeader(2, np.array([first + 6, first + 9], dtype=np.float32)), b"")
        for place in range(6):
            writer.write(first + place, RecordHeader(0, float(place // 2)), make_jpeg(place))
        for label, start in enumerate((first, first + 2, first + 5)):  # the last one's first image is another's
            writer.write(first + 6 + label, RecordHeader(2, np.array([start, start + 2], dtype=np.float32)), b"")
    (tmp_path / "property").write_text("3,112,112")
    report = check_pack(tmp_path)
    assert dict(report.counts) == {"identity_range": 1}
    assert report.findings["identity_range"][0].labels == (2,)


def test_a_truncated_file_is_found(tmp_path: Path, make_pack: Callable) -> None:
    make_pack(tmp_path, LABELS)
    offsets = RecordReader(tmp_path / "train.rec").index.offsets
    data = (tmp_path / "train.rec").read_bytes()
    (tmp_path / "train.rec").write_bytes(data[: int(offsets[6]) + 100])
    found = kinds(tmp_path)
    assert found["truncated"] >= 1
    assert found["corrupt_record"] >= 1  # the record that is cut


def test_a_corrupt_record_is_found_alone(tmp_path: Path, make_pack: Callable) -> None:
    make_pack(tmp_path, LABELS)
    offset = int(RecordReader(tmp_path / "train.rec").index.offsets[3])
    data = bytearray((tmp_path / "train.rec").read_bytes())
    data[offset] ^= 1
    (tmp_path / "train.rec").write_bytes(data)
    report = check_pack(tmp_path)
    assert set(report.counts) == {"corrupt_record"}
    assert (3,) in [finding.keys for finding in report.findings["corrupt_record"]]


def test_gaps_and_unindexed_records_are_found(tmp_path: Path, make_pack: Callable) -> None:
    make_pack(tmp_path, LABELS, header=False)
    lines = (tmp_path / "train.idx").read_text().splitlines(keepends=True)
    (tmp_path / "train.idx").write_text("".join(lines[:4] + lines[6:]))
    report = check_pack(tmp_path)
    assert report.counts["unindexed_record"] == 2
    assert "keys 4..5 are missing" in report.findings["key_gap"][0].detail


def test_missing_and_broken_side_files_are_found(tmp_path: Path, make_pack: Callable) -> None:
    make_pack(tmp_path, LABELS)
    (tmp_path / "property").unlink()
    (tmp_path / "train.idx").unlink()
    report = check_pack(tmp_path)
    assert dict(report.counts) == {"file": 2}
    assert report.num_images == 10
    (tmp_path / "property").write_text("nonsense")
    (tmp_path / "train.idx").write_text("nonsense")
    assert kinds(tmp_path) == {"file": 2}
    (tmp_path / "train.idx").unlink()
    (tmp_path / "train.rec").write_bytes(b"nonsense")
    assert kinds(tmp_path) == {"file": 2, "corrupt_record": 1}


def test_where_nothing_is_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no train\.rec in"):
        check_pack(tmp_path)
    (tmp_path / "train.rec").touch()
    assert "file" in kinds(tmp_path)
    with pytest.raises(ValueError, match=r"near_bits must be in 0\.\.15"):
        check_pack(tmp_path, near_bits=16)


def test_a_contact_sheet_shows_samples_and_suspects(tmp_path: Path, make_pack: Callable, make_jpeg: Callable) -> None:
    make_pack(tmp_path / "pack", LABELS, payloads={1: make_jpeg(0), 4: b"\xff\xd8\xff broken"})
    report = check_pack(tmp_path / "pack")
    rows = [
        *sample_rows(IdentityPack(tmp_path / "pack"), count=2),
        *suspect_rows(report, RecordReader(tmp_path / "pack/train.rec")),
    ]
    assert len(rows) == 4
    assert [len(row.images) for row in rows[2:]] == [1, 2]
    write_sheet(tmp_path / "sheet.png", rows)
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (4 * 132, 10 * 116, 3)
    pack = IdentityPack(tmp_path / "pack")
    duplicate = next(row for row in rows if row.text.startswith("duplicate"))
    top = rows.index(duplicate) * 132 + 16
    assert np.array_equal(
        sheet[top : top + 112, 116 : 116 + 112], pack.__getitems__([0]).images[0].permute(1, 2, 0).numpy()
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pack", "sheet.png"]


def test_two_who_look_alike_stand_side_by_side(tmp_path: Path, make_pack: Callable, make_jpeg: Callable) -> None:
    pack = IdentityPack(make_pack(tmp_path / "pack", [0, 0, 1, 1, 1]))
    report = CheckReport(tmp_path)
    report.add("look_alike", "0 and 1", keys=(1, 3), labels=(0, 1))
    report.add("overlap", "1 and a test image", keys=(3,), labels=(1,), test_image=("a/test.bin", 1))
    test_sets = {"a/test.bin": [make_jpeg(8), make_jpeg(9)]}
    alike, overlap = suspect_rows(report, RecordReader(tmp_path / "pack/train.rec"), people=pack, test_sets=test_sets)
    images = list(pack.__getitems__(range(5)).images)
    assert (alike.split, overlap.split) == (2, 1)
    expected = [images, [decode_images([make_jpeg(9)])[0], *images[2:]]]
    for row, wanted in zip((alike, overlap), expected, strict=True):
        assert len(row.images) == len(wanted)
        assert all(torch.equal(image, other) for image, other in zip(row.images, wanted, strict=True))
    write_sheet(tmp_path / "sheet.png", [alike])
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert (sheet[16:128, 2 * 116 - 4 : 2 * 116] == [255, 0, 0]).all()


def test_an_empty_sheet_is_a_blank_page(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.png", [])
    write_sheet(tmp_path / "sheet.png", [SheetRow("nothing", [None])])
    assert Image.open(tmp_path / "sheet.png").size[0] == 1160
