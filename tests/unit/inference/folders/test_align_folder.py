"""Aligned faces of a folder of photographs: written, listed, resumed; what failed is listed and shown."""

import csv
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from transface.evaluation.recognition.own_lists import Finding, list_people
from transface.images.alignment import read_points, template_points
from transface.images.decoding import decode_image
from transface.images.detection import Faces, no_faces, sorted_faces
from transface.images.detectors import locating
from transface.images.files import list_images
from transface.images.user_points import points_by_name
from transface.inference.face_model import FaceModel
from transface.inference.folders import align_folder as home
from transface.inference.folders.align_folder import Aligned, align_folder


class BrightSquares:
    """Finds the bright square of a dark picture; its five points lie as the template's."""

    name = "bright squares"
    looked = 0

    def detect(self, images: Sequence[np.ndarray]) -> list[Faces]:
        type(self).looked += len(images)
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> Faces:
        rows, columns = np.nonzero(image[:, :, 0] > 128)
        if not len(rows):
            return no_faces()
        low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])
        return sorted_faces([[*low, *high]], low + template_points().numpy() * ((high - low) / 111), [0.9])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three people with four photographs each; one has no face, one is broken."""
    for opener in (home, locating):
        monkeypatch.setattr(opener, "open_detector", lambda *_, **__: BrightSquares())
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "cache"))
    BrightSquares.looked = 0
    for person in "abc":
        (tmp_path / "in" / person).mkdir(parents=True)
        for number in range(4):
            image = np.zeros((150 + number, 180, 3), np.uint8)
            if (person, number) != ("b", 1):
                image[20:130, 30 + number : 140 + number] = (
                    140 + 20 * number + np.arange(110, dtype=np.uint8)[None, :, None] // 2
                )
            Image.fromarray(image).save(tmp_path / "in" / person / f"{number}.png")
    (tmp_path / "in" / "c" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return tmp_path / "in"


def align(folder: Path, **settings: Any) -> Aligned:
    return align_folder(folder, folder.parent / "out", "any", **settings)


def test_faces_are_written_listed_and_shown(folder: Path) -> None:
    told: list[int] = []
    done = align(folder, progress=told.append, num_threads=2)
    assert (done.num_pictures, done.num_faces, sum(told)) == (12, 10, 12)
    assert sorted(done.failed) == ["b/1.png", "c/3.png"]
    assert done.failed["b/1.png"] == "no face was found"
    assert "cannot be decoded" in done.failed["c/3.png"]
    assert decode_image((done.output / "a" / "2.png.jpg").read_bytes()).shape == (3, 112, 112)
    assert (done.output / "failed.jpg").is_file()


def test_the_table_is_a_points_file_that_gives_the_same_faces(folder: Path, small_model: FaceModel) -> None:
    done = align(folder, kind="png")
    listed = read_points(done.output / "faces.csv")
    assert len(listed) == 10
    for face in listed[:3]:
        by_points = small_model.embed(folder / face.path, points=face.points)
        torch.testing.assert_close(by_points, small_model.embed(done.output / face.path), atol=2e-2, rtol=0)
        torch.testing.assert_close(
            by_points, small_model.embed(folder / face.path, detector=BrightSquares()), atol=2e-2, rtol=0
        )


def test_the_table_marks_the_bytes_that_were_looked_at_and_each_picture_is_read_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, names = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda path: names.append(path) or read(path))
    done = align(folder, num_threads=2)
    monkeypatch.undo()
    pictures = sorted(folder.rglob("*.png"))
    assert sorted(name for name in names if folder in name.parents) == pictures
    with (done.output / "faces.csv").open(newline="") as table:
        marks = {row["file"]: (int(row["bytes"]), row["crc32"]) for row in csv.DictReader(table)}
    assert marks == {
        str(path.relative_to(folder)): (path.stat().st_size, f"{zlib.crc32(path.read_bytes()):08x}")
        for path in pictures  # of those without a face and the broken one too
    }


def test_a_stopped_run_goes_on(folder: Path) -> None:
    class StopError(Exception): ...

    seen = 0

    def stop(count: int) -> None:
        nonlocal seen
        seen += count
        if seen == 6:
            raise StopError

    with pytest.raises(StopError):
        align(folder, progress=stop)
    BrightSquares.looked = 0
    again = align(folder)
    assert 0 < BrightSquares.looked < 10
    (folder.parent / "out").rename(folder.parent / "resumed")
    fresh = align(folder)
    for name in ("faces.csv", "failed.jpg"):
        assert (folder.parent / "resumed" / name).read_bytes() == (fresh.output / name).read_bytes()
    assert again.failed == fresh.failed
    BrightSquares.looked = 0
    assert align(folder) == fresh
    assert BrightSquares.looked == 0


def test_other_settings_and_other_files_are_refused(folder: Path) -> None:
    align(folder)
    with pytest.raises(FileExistsError, match="faces of other pictures or settings"):
        align(folder, size=64)
    with pytest.raises(FileExistsError, match="other files"):
        align_folder(folder, folder.parent, "any")
    with pytest.raises(ValueError, match="another folder than the pictures"):
        align_folder(folder, folder, "any")


def test_a_photograph_without_a_face_is_named(folder: Path, small_model: FaceModel) -> None:
    with pytest.raises(ValueError, match=r"b/1\.png: no face was found"):
        small_model.embed([folder / "a/0.png", folder / "b/1.png"], detector=BrightSquares())


def test_evaluation_finds_faces_once_and_says_where_there_are_none(folder: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"2 of 12 pictures have no face to take: .*1\.png: no face was found; .*missing=center takes the middle",
    ):
        list_people(folder, name="mine", fit="refuse", finding=Finding("any"))
    (folder / "c" / "3.png").unlink()
    source = list_people(folder, name="mine", fit="refuse", finding=Finding("any", missing="center")).source
    BrightSquares.looked = 0
    again = list_people(folder, name="mine", fit="refuse", finding=Finding("any", missing="center")).source
    assert BrightSquares.looked == 0
    assert again.fingerprint() == source.fingerprint()
    assert source.read(range(11), (112, 112)).shape == (11, 3, 112, 112)
    assert source.read([0], (112, 96)).float().mean() > 100


def test_a_search_for_faces_that_was_stopped_goes_on(folder: Path) -> None:
    paths = sorted((folder / person / f"{number}.png" for person in "abc" for number in range(4)), key=str)
    whole = locating.locate_faces(paths, "any", num_threads=1)
    for kept in (folder.parent / "cache" / "faces").iterdir():
        kept.unlink()
    looked, seconds = BrightSquares.looked, iter([1.0, 2.0, 3.0, 31.0, 31.0])  # nothing more after the note: a kill
    with pytest.raises(RuntimeError, match="killed"):
        locating.locate_faces(paths, "any", num_threads=1, clock=lambda: next(seconds, None) or stop())
    assert [kept.suffix for kept in (folder.parent / "cache" / "faces").iterdir()] == [".partial"]
    BrightSquares.looked = looked
    again = locating.locate_faces(paths, "any", num_threads=1)
    assert BrightSquares.looked - looked == len(paths) - 1 - 3  # one is broken, three were noted
    np.testing.assert_array_equal(again.points, whole.points)
    assert again.reasons == whole.reasons
    assert [kept.suffix for kept in (folder.parent / "cache" / "faces").iterdir()] == [".npz"]


def stop() -> float:
    raise RuntimeError("killed")


def test_pictures_exchanged_under_their_names_are_looked_at_again(folder: Path) -> None:
    align(folder)
    first, second = folder / "a" / "0.png", folder / "a" / "2.png"
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    with pytest.raises(FileExistsError, match="holds faces of other pictures"):
        align(folder)


def test_faces_of_two_pictures_never_have_one_name(folder: Path) -> None:
    (folder / "a" / "0.png.jpg").write_bytes((folder / "a" / "3.png").read_bytes())
    done = align(folder)
    written = [path for path in done.output.rglob("*") if path.name.endswith(".jpg") and path.name != "failed.jpg"]
    assert len(written) == done.num_faces == 11


def test_points_of_other_pictures_of_the_same_names_are_refused(folder: Path) -> None:
    points = points_by_name(align(folder).output / "faces.csv")
    names = [name for name in points if name.startswith("a/")]
    points.check(names, lambda name: folder / name)
    with pytest.raises(ValueError, match=r"points of another picture than a/0.png"):
        points.check(names, lambda _: folder / "a" / "1.png")
    points["0.png"] = points["a/0.png"]
    with pytest.raises(ValueError, match=r"x/0.png and y/0.png are two pictures"):
        points.check(["x/0.png", "y/0.png"], Path)


@pytest.mark.parametrize("names", ["absolute", "relative"])
def test_a_list_of_pictures_elsewhere_leaves_them_as_they_are(folder: Path, names: str) -> None:
    pictures = sorted(folder.rglob("*.png"))[:5]
    before = [picture.read_bytes() for picture in pictures]
    (folder.parent / "lists").mkdir()
    listed = folder.parent / "lists" / "list.txt"
    lines = [str(path) if names == "absolute" else f"../in/{path.relative_to(folder)}" for path in pictures]
    listed.write_text("\n".join([*lines, lines[0]]) + "\n")
    done = align_folder(listed, folder.parent / "out", "any", kind="png")
    assert [picture.read_bytes() for picture in pictures] == before, "the photographs themselves were written over"
    written = sorted(str(path.relative_to(done.output)) for path in done.output.rglob("*.png"))
    assert written == ["a/0.png", "a/1.png", "a/2.png", "a/3.png", "b/0.png"]
    assert {face.path for face in read_points(done.output / "faces.csv")} == set(lines), "found by the list's names"
    (folder.parent / "lists" / "a.txt").write_text(f"{pictures[0]}\n{folder}/./a/0.png\n")
    with pytest.raises(ValueError, match="are one picture"):
        align_folder(folder.parent / "lists" / "a.txt", folder.parent / "other", "any")


def test_faces_in_a_folder_of_the_photographs_are_no_photographs(folder: Path) -> None:
    first = align_folder(folder, folder / "aligned", "any")
    assert align_folder(folder, folder / "aligned", "any") == first
    assert first.num_pictures == 12


def test_the_sheet_replaces_no_face_and_is_none_itself(folder: Path) -> None:
    (folder / "a" / "0.png").rename(folder / "failed.jpg")
    done = align(folder)
    assert decode_image((done.output / "failed.jpg.jpg").read_bytes()).shape == (3, 112, 112)
    assert decode_image((done.output / "failed.jpg").read_bytes()).shape != (3, 112, 112)
    assert "failed.jpg" not in list_images(done.output).names
    assert len(list_images(done.output).names) == done.num_faces


def test_a_face_that_was_taken_away_is_written_again(folder: Path) -> None:
    done = align(folder)
    kept = {path: path.read_bytes() for path in done.output.rglob("*") if path.is_file()}
    (done.output / "b" / "2.png.jpg").unlink()
    assert align(folder) == done
    assert {path: path.read_bytes() for path in done.output.rglob("*") if path.is_file()} == kept


def test_names_of_any_bytes_are_written_and_read_again(folder: Path, small_model: FaceModel) -> None:
    names = [b"a, b.png", b'q"uote.png', b"new\nline.png", b"bad\xffname.png", "u\u2028\u00e4.png".encode()]
    odd = folder.parent / "odd"
    odd.mkdir()
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(odd) + b"/" + name)).write_bytes((folder / "a" / f"{number % 4}.png").read_bytes())
    done = align_folder(odd, folder.parent / "out", "any", kind="png")
    points = points_by_name(done.output / "faces.csv")
    assert set(points) == set(list_images(odd).names)
    points.check(list_images(odd).names, lambda name: odd / name)
    assert align_folder(odd, folder.parent / "out", "any", kind="png") == done


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (112,)},
        {"size": 100_000},
        {"margin": float("nan")},
        {"min_eye_distance": float("nan")},
        {"num_threads": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(folder: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|at least 1 thread"):
        align(folder, **wrong)


def test_faces_that_are_all_too_small_are_told_as_such(folder: Path) -> None:
    done = align(folder, min_eye_distance=500)
    assert "pixels between the eyes, fewer than min_eye_distance=500" in done.failed["a/0.png"]
    assert done.failed["b/1.png"] == "no face was found"


@pytest.mark.parametrize("take", ["all", "any"])
def test_an_evaluation_takes_one_face_of_each_photograph(folder: Path, take: Any) -> None:
    with pytest.raises(ValueError, match=r"one face a picture is taken: faces must be largest, .*, got"):
        list_people(folder, name="in", fit="refuse", finding=Finding("any", take, "center"))
    assert BrightSquares.looked == 0


def test_the_photographs_may_lie_behind_a_link_and_a_broken_mark_is_one_of_others(folder: Path) -> None:
    (folder.parent / "link").symlink_to("in")
    for _ in range(2):
        assert align_folder(folder.parent / "link", folder / "aligned", "any").num_pictures == 12
    (folder / "aligned" / ".align").write_bytes(b"\xff\xfe")
    with pytest.raises(FileExistsError, match="faces of other pictures or settings"):
        align_folder(folder.parent / "link", folder / "aligned", "any")


def test_what_a_kill_left_of_its_first_file_is_no_other_file(folder: Path) -> None:
    out = folder.parent / "out"
    out.mkdir()
    (out / f".{home.ALIGNED_MARK}.{'0' * 32}").touch()
    assert align(folder).num_faces == 10
    (out / home.ALIGNED_MARK).unlink()
    with pytest.raises(FileExistsError, match="holds other files"):
        align(folder)


def test_a_face_that_cannot_be_written_is_not_there_in_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            align(folder)
    assert [path for path in (folder.parent / "out").rglob("*.jpg") if not path.name.startswith(".")] == []
    assert align(folder).num_faces == 10
