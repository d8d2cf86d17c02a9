"""Packs made and changed: nothing lost, nothing mixed up."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import encode_jpeg

from transface.data.recordio.reader import RecordReader
from transface.data.sources.identity_pack import IdentityPack
from transface.data.sources.image_files import open_folder
from transface.images.alignment import align_image, template_points
from transface.images.decoding import decode_images
from transface.images.user_images import content_mark
from transface.packs import writer as pack_writing
from transface.packs.check import check_pack
from transface.packs.operations import (
    merge_packs,
    open_images,
    open_pack,
    pack_images,
    shuffle_pack,
    split_pack,
    unpack_to_folder,
    write_index,
)

LABELS = [0] * 6 + [1] * 4 + [2] * 9 + [3] + [4] * 5


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, make_pack: Callable) -> IdentityPack:
    return IdentityPack(make_pack(tmp_path_factory.mktemp("pack"), LABELS))


def content(pack: IdentityPack) -> list[tuple[int, bytes]]:
    return [(int(label), pack.encoded(index)) for index, label in enumerate(pack.labels)]


def test_a_folder_and_back(pack: IdentityPack, tmp_path: Path) -> None:
    assert unpack_to_folder(pack, tmp_path / "folder") == len(pack)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]
    assert len(list((tmp_path / "folder").rglob("*.jpg"))) == len(pack)
    summary = pack_images(open_images(tmp_path / "folder"), tmp_path / "again")
    assert content(IdentityPack(summary.root)) == content(pack)
    assert (summary.root / "train.rec").read_bytes() == pack.reader.path.read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        unpack_to_folder(pack, tmp_path / "folder")


def test_a_stopped_unpacking_goes_on(pack: IdentityPack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(count: int, seen: list[int] = []) -> None:  # noqa: B006
        seen.append(count)
        if sum(seen) == 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(pack_writing, "CHUNK", 3)
    with pytest.raises(KeyboardInterrupt):
        unpack_to_folder(pack, tmp_path / "folder", num_threads=1, on_progress=stop)
    assert not (tmp_path / "folder").exists()
    written = sorted((tmp_path / "folder.partial").rglob("*.jpg"))
    assert 12 <= len(written) < 25
    written[3].write_bytes(b"")  # as after a power cut
    unpack_to_folder(pack, tmp_path / "folder")
    files = sorted((tmp_path / "folder").rglob("*.*"))
    assert [path.read_bytes() for path in files] == [data for _, data in content(pack)]


def test_what_another_pack_left_is_not_gone_on_with(pack: IdentityPack, tmp_path: Path, make_pack: Callable) -> None:
    def stop(count: int) -> None:
        raise KeyboardInterrupt

    other = IdentityPack(make_pack(tmp_path / "other", LABELS, payloads={0: b"another"}))
    with pytest.raises(KeyboardInterrupt):
        unpack_to_folder(other, tmp_path / "folder", on_progress=stop)
    assert (tmp_path / "folder.partial" / "0" / "00.jpg").read_bytes() == b"another"
    unpack_to_folder(pack, tmp_path / "folder", num_threads=3)
    files = sorted((tmp_path / "folder").rglob("*.*"))
    assert [path.read_bytes() for path in files] == [data for _, data in content(pack)]


def test_a_folder_of_somebody_else_is_not_removed(pack: IdentityPack, tmp_path: Path) -> None:
    (tmp_path / "folder.partial").mkdir()
    (tmp_path / "folder.partial" / "mine").touch()
    with pytest.raises(FileExistsError, match=r"folder\.partial is in the way and no stopped run left it"):
        unpack_to_folder(pack, tmp_path / "folder")
    assert (tmp_path / "folder.partial" / "mine").exists()


@pytest.mark.parametrize("ending", ["csv", "lst"])
def test_a_list_decides_what_goes_in(pack: IdentityPack, tmp_path: Path, ending: str) -> None:
    unpack_to_folder(pack, tmp_path / "folder")
    paths = sorted(str(path.relative_to(tmp_path / "folder")) for path in (tmp_path / "folder").rglob("*.jpg"))
    chosen = [(paths[8], 1), (paths[0], 0), (paths[20], 1)]
    path = tmp_path / f"list.{ending}"
    if ending == "csv":
        path.write_text("path,label\n" + "".join(f"{p},{label}\n" for p, label in chosen))
    else:
        path.write_text("".join(f"{key}\t{label}.0\t{p}\n" for key, (p, label) in enumerate(chosen)))
    summary = pack_images(open_images(path, root=tmp_path / "folder"), tmp_path / "pack")
    data = [encoded for _, encoded in content(pack)]
    assert content(IdentityPack(summary.root)) == [(0, data[0]), (1, data[8]), (1, data[20])]


def test_images_are_resized_only_where_needed(tmp_path: Path, make_jpeg: Callable, make_picture: Callable) -> None:
    (tmp_path / "in" / "p").mkdir(parents=True)
    large = make_picture(3, side=200)
    (tmp_path / "in" / "p" / "a.jpg").write_bytes(make_jpeg(0))
    (tmp_path / "in" / "p" / "b.jpg").write_bytes(encode_jpeg(large, quality=98).numpy().tobytes())
    with pytest.raises(ValueError, match=r"b\.jpg must be 112x112, got 200x200"):
        pack_images(open_folder(tmp_path / "in"), tmp_path / "refused")
    made = IdentityPack(pack_images(open_folder(tmp_path / "in"), tmp_path / "pack", fit="resize").root)
    assert made.encoded(0) == make_jpeg(0)
    expected = torch.nn.functional.interpolate(large[None].float(), size=112, mode="bilinear", antialias=True)
    assert (made.__getitems__([1]).images.float() - expected).abs().mean() < 3


def test_faces_are_aligned_by_their_points(tmp_path: Path, make_picture: Callable) -> None:
    (tmp_path / "in" / "p").mkdir(parents=True)
    scene = encode_jpeg(make_picture(3, side=300), quality=98).numpy().tobytes()
    points = template_points() * 1.7 + 40
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "in" / "p" / name).write_bytes(scene)
    line = ",".join(f"{number}" for number in points.ravel().tolist())
    (tmp_path / "points.csv").write_text(f"p/a.jpg,{line}\n")
    images = open_folder(tmp_path / "in")
    with pytest.raises(ValueError, match=r"p/b\.jpg has no line in the points file"):
        pack_images(images, tmp_path / "refused", points_file=tmp_path / "points.csv")
    summary = pack_images(images, tmp_path / "pack", points_file=tmp_path / "points.csv", on_bad_image="skip")
    assert len(summary.skipped) == 1
    expected = align_image(decode_images([scene])[0], points)
    assert (IdentityPack(summary.root).__getitems__([0]).images.float() - expected.float()).abs().mean() < 3


def test_a_pack_begun_by_other_points_is_not_gone_on_with(tmp_path: Path, make_picture: Callable) -> None:
    (tmp_path / "in" / "p").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "in" / "p" / name).write_bytes(encode_jpeg(make_picture(3, side=300), quality=98).numpy().tobytes())
    first, mended = (
        ",".join(f"{number}" for number in (template_points() * 1.7 + shift).ravel().tolist()) for shift in (40, 60)
    )
    (tmp_path / "points.csv").write_text(f"p/a.jpg,{first}\n")
    images = open_folder(tmp_path / "in")
    with pytest.raises(ValueError, match=r"p/b\.jpg has no line in the points file"):
        pack_images(images, tmp_path / "pack", points_file=tmp_path / "points.csv")
    (tmp_path / "points.csv").write_text(f"p/a.jpg,{mended}\np/b.jpg,{mended}\n")
    made = IdentityPack(pack_images(images, tmp_path / "pack", points_file=tmp_path / "points.csv").root)
    assert made.encoded(0) == made.encoded(1)


def test_people_with_few_images_are_left_out(pack: IdentityPack, tmp_path: Path) -> None:
    unpack_to_folder(pack, tmp_path / "folder")
    made = IdentityPack(pack_images(open_folder(tmp_path / "folder"), tmp_path / "pack", min_images=5).root)
    assert made.labels.tolist() == [0] * 6 + [1] * 9 + [2] * 5
    with pytest.raises(ValueError, match="nobody has 10 images: the most is 9"):
        pack_images(open_folder(tmp_path / "folder"), tmp_path / "none", min_images=10)
    with pytest.raises(ValueError, match=r"quality must be in 1\.\.100, got 0"):
        pack_images(open_folder(tmp_path / "folder"), tmp_path / "none", quality=0)


def test_an_index_is_written_anew(pack: IdentityPack, tmp_path: Path) -> None:
    for name in ("train.rec", "train.idx", "property"):
        (tmp_path / name).write_bytes((pack.root / name).read_bytes())
    before = (tmp_path / "train.idx").read_bytes()
    (tmp_path / "train.idx").write_text("0\t0\n")
    summary = write_index(tmp_path)
    assert (tmp_path / "train.idx").read_bytes() == before
    assert summary == (tmp_path / "train.idx", len(RecordReader(tmp_path / "train.rec")))
    whole = (tmp_path / "train.rec").read_bytes()
    (tmp_path / "train.rec").write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="truncated"):
        write_index(tmp_path)
    assert (tmp_path / "train.idx").read_bytes() == before


def test_shuffling_keeps_every_image_with_its_label(pack: IdentityPack, tmp_path: Path) -> None:
    shuffled = content(IdentityPack(shuffle_pack(pack, tmp_path / "a", seed=3).root))
    assert shuffled != content(pack)
    assert sorted(shuffled) == sorted(content(pack))
    assert content(IdentityPack(shuffle_pack(pack, tmp_path / "b", seed=3).root)) == shuffled
    assert content(IdentityPack(shuffle_pack(pack, tmp_path / "c", seed=4).root)) != shuffled


def test_a_split_by_identity_shares_nobody(pack: IdentityPack, tmp_path: Path) -> None:
    parts = [
        IdentityPack(part.root)
        for part in split_pack(pack, [tmp_path / "a", tmp_path / "b"], shares=[0.6, 0.4], seed=1)
    ]
    assert [part.num_identities for part in parts] == [3, 2]
    data = {encoded: label for label, encoded in content(pack)}
    people = [{data[encoded] for _, encoded in content(part)} for part in parts]
    assert not people[0] & people[1]
    assert sum(len(part) for part in parts) == len(pack)
    for part in parts:
        assert len({(label, data[encoded]) for label, encoded in content(part)}) == part.num_identities


def test_a_split_by_image_deals_each_person_out(pack: IdentityPack, tmp_path: Path) -> None:
    parts = [
        IdentityPack(part.root)
        for part in split_pack(pack, [tmp_path / "a", tmp_path / "b"], shares=[0.5, 0.5], by="image")
    ]
    counts = [Counter(part.labels.tolist()) for part in parts]
    whole = Counter(LABELS)
    for label in whole:
        assert abs(counts[0][label] - counts[1][label]) <= 1
        assert counts[0][label] + counts[1][label] == whole[label]
    assert sorted(content(parts[0]) + content(parts[1])) == sorted(content(pack))


def test_a_split_stopped_between_two_packs_goes_on(pack: IdentityPack, tmp_path: Path) -> None:
    def stop(count: int, seen: list[int] = []) -> None:  # noqa: B006
        seen.append(count)
        if sum(seen) == len(pack):
            raise KeyboardInterrupt

    whole = [part.root for part in split_pack(pack, [tmp_path / "whole_a", tmp_path / "whole_b"], shares=[0.6, 0.4])]
    outputs = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(KeyboardInterrupt):
        split_pack(pack, outputs, shares=[0.6, 0.4], on_progress=stop)
    assert (tmp_path / "a" / "train.rec").exists()
    assert not (tmp_path / "b" / "train.rec").exists()
    with pytest.raises(FileExistsError, match="a holds a pack already"):
        split_pack(pack, outputs, shares=[0.5, 0.5])
    again = split_pack(pack, outputs, shares=[0.6, 0.4])
    assert again[0].num_resumed == again[0].num_images
    for made, expected in zip(outputs, whole, strict=True):
        assert {path.name: path.read_bytes() for path in made.iterdir()} == {
            path.name: path.read_bytes() for path in expected.iterdir()
        }
    with pytest.raises(FileExistsError, match="a holds a pack already"):
        split_pack(pack, outputs, shares=[0.6, 0.4])


@pytest.mark.parametrize(
    ("names", "words", "complaint"),
    [
        (["a", "b"], {"shares": [0.5, 0.6]}, "sum to 1"),
        (["a", "b"], {"shares": [1.0]}, "one number above 0 for each"),
        (["a"], {"shares": [1.0]}, "2 or more"),
        (["a", "a"], {"shares": [0.5, 0.5]}, "outputs must differ"),
        (["a", "b"], {"shares": [0.99, 0.01]}, "no image would go to .*b: give it a larger share"),
        (["a", "b"], {"shares": [0.5, 0.5], "by": "file"}, "by must be"),
    ],
)
def test_impossible_splits_write_nothing(
    pack: IdentityPack, tmp_path: Path, names: list[str], words: dict, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        split_pack(pack, [tmp_path / name for name in names], **words)
    assert not list(tmp_path.iterdir())


def test_merged_packs_keep_their_people_apart(pack: IdentityPack, tmp_path: Path) -> None:
    merged = IdentityPack(merge_packs([pack, pack], tmp_path / "pack").root)
    assert merged.num_identities == 10
    assert content(merged) == content(pack) + [(label + 5, data) for label, data in content(pack)]
    same = IdentityPack(merge_packs([pack, pack], tmp_path / "same", label_offsets=[0, 0]).root)
    assert same.num_identities == 5
    assert np.bincount(same.labels).tolist() == [2 * LABELS.count(label) for label in range(5)]


def test_points_of_two_faces_of_one_picture_are_refused(tmp_path: Path, make_jpeg: Callable) -> None:
    (tmp_path / "images" / "p").mkdir(parents=True)
    (tmp_path / "images" / "p" / "a.jpg").write_bytes(make_jpeg(0))
    line = ",".join(f"{number}" for number in template_points().ravel().tolist())
    (tmp_path / "points.csv").write_text(f"p/a.jpg,{line}\n" * 2, encoding="utf-8-sig")
    with pytest.raises(ValueError, match="two faces of"):
        pack_images(open_images(tmp_path / "images"), tmp_path / "pack", points_file=tmp_path / "points.csv")


def test_a_rectangular_pack_is_made_checked_and_unpacked_without_naming_its_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["path,label"]
    for number in range(6):
        image = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize((178, 218))
        image.save(tmp_path / f"{number}.{'bmp' if number % 2 else 'jpg'}")
        lines.append(f"{number}.{'bmp' if number % 2 else 'jpg'},{1000 + 500 * (number // 2)}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    pack_images(open_images(tmp_path / "list.csv", size=(218, 178)), tmp_path / "pack")
    pack = open_pack(tmp_path / "pack")
    assert pack.image_size == (218, 178)
    assert pack.num_identities == 3
    assert (tmp_path / "pack" / "identities.csv").read_text() == "label,name\n0,1000\n1,1500\n2,2000\n"
    assert check_pack(tmp_path / "pack").is_clean
    assert all(pack.encoded(index)[:3] == b"\xff\xd8\xff" for index in range(6))
    assert unpack_to_folder(pack, tmp_path / "folder") == 6
    pack_images(open_images(tmp_path / "list.csv", size=112), tmp_path / "square", fit="letterbox")
    assert open_pack(tmp_path / "square").image_size == (112, 112)
    with pytest.raises(ValueError, match="would distort it"):
        pack_images(open_images(tmp_path / "list.csv", size=112), tmp_path / "bad", fit="resize")


def test_points_of_another_picture_of_the_name_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images" / "a").mkdir(parents=True)
    path = tmp_path / "images" / "a" / "0.png"
    points = ",".join(str(float(value)) for value in (template_points() + 20).flatten())
    names = ",".join(f"{axis}{number}" for number in range(1, 6) for axis in "xy")
    for _ in range(2):
        Image.fromarray(rng.integers(0, 256, (150, 150, 3), dtype=np.uint8)).save(path)
        if not (tmp_path / "points.csv").exists():
            mark = content_mark(path.read_bytes())
            (tmp_path / "points.csv").write_text(
                f"file,{names},bytes,crc32\n./a/0.png,{points},{mark.num_bytes},{mark.crc32}\n"
            )
            pack_images(open_images(tmp_path / "images"), tmp_path / "first", points_file=tmp_path / "points.csv")
    with pytest.raises(ValueError, match=r"has points of another picture than a/0\.png"):
        pack_images(open_images(tmp_path / "images"), tmp_path / "second", points_file=tmp_path / "points.csv")
