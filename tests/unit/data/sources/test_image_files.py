"""Faces in files: folders and lists, read as written, and each fault named."""

import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from transface.data.sources.image_files import PathTable, open_folder, open_list
from transface.images.decoding import ImageError, decode_images
from transface.images.files import files_below
from transface.systems.recognition.datamodule import RecognitionData


@pytest.fixture
def folder(tmp_path: Path, make_jpeg: Callable, make_png: Callable) -> Path:
    for person, files in {"zoe": ["b.jpg", "a.PNG"], "ann": ["1.jpeg"], "nobody": []}.items():
        (tmp_path / person).mkdir()
        for number, file in enumerate(files):
            data = make_png(number) if file.endswith("PNG") else make_jpeg(number)
            (tmp_path / person / file).write_bytes(data)
    (tmp_path / "zoe" / "notes.txt").touch()
    (tmp_path / "list.txt").touch()
    return tmp_path


def test_a_folder_a_person_is_read_in_sorted_order(folder: Path) -> None:
    faces = open_folder(folder)
    assert faces.people == ["ann", "zoe"]
    assert [faces.paths[i] for i in range(3)] == ["ann/1.jpeg", "zoe/a.PNG", "zoe/b.jpg"]
    assert faces.labels.tolist() == [0, 1, 1]
    assert faces.num_identities == 2
    batch = pickle.loads(pickle.dumps(faces)).__getitems__([2, 0])
    expected = decode_images([(folder / path).read_bytes() for path in ("zoe/b.jpg", "ann/1.jpeg")])
    assert torch.equal(batch.images, expected)
    assert batch.labels.tolist() == [1, 0]
    assert batch.keys.tolist() == [2, 0]


def test_images_in_folders_inside_a_persons_are_theirs(folder: Path, make_jpeg: Callable) -> None:
    for path in (
        "zoe/2019/x.jpg",
        "zoe/2019/june/y.jpg",
        "änn/ü 1.jpg",
        "zoe/.thumbs/t.jpg",
        ".trash/a.jpg",
        "zoe/._b.jpg",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(make_jpeg(0))
    faces = open_folder(folder)
    assert faces.people == ["ann", "zoe", "änn"]
    assert [faces.paths[i] for i in range(len(faces))] == [
        "ann/1.jpeg",
        "zoe/2019/june/y.jpg",
        "zoe/2019/x.jpg",
        "zoe/a.PNG",
        "zoe/b.jpg",
        "änn/ü 1.jpg",
    ]
    assert faces.labels.tolist() == [0, 1, 1, 1, 1, 2]


def test_images_in_no_persons_folder_are_told_of(
    folder: Path, make_jpeg: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "loose.jpg").write_bytes(make_jpeg(0))
    assert len(open_folder(folder)) == 3
    assert "1 images, loose.jpg the first, lie in" in caplog.text
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    with pytest.raises(ValueError, match=r"loose\.jpg the first, lie in .* expected one folder a person"):
        open_folder(folder)


def test_a_broken_or_vanished_file_is_named(folder: Path) -> None:
    faces = open_folder(folder)
    (folder / "zoe" / "b.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError, match=r"image .*zoe/b\.jpg cannot be decoded"):
        faces.__getitems__([0, 2])
    (folder / "zoe" / "b.jpg").unlink()
    with pytest.raises(ValueError, match=r"image .*zoe/b\.jpg cannot be read: No such file"):
        faces.__getitems__([2])


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no images"):
        open_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="no image folder"):
        open_folder(tmp_path / "absent")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(("labels", "numbers"), [(["4", "0", "4"], [4, 0, 4]), (["ann", "zoe", "ann"], [0, 1, 0])])
def test_lists_are_read(folder: Path, ending: str, labels: list[str], numbers: list[int]) -> None:
    paths = ["ann/1.jpeg", "zoe/b.jpg", "zoe/a.PNG"]
    path = folder / f"list.{ending}"
    if ending == "csv":
        path.write_text(
            "score,path,label\n" + "".join(f'0.5,"{p}",{label}\n' for p, label in zip(paths, labels, strict=True))
        )
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = {"identity": [int(label) for label in labels] if labels[0].isdigit() else labels, "image": paths}
        parquet.write_table(pyarrow.table(columns), path)
    faces = open_list(path)
    assert faces.labels.tolist() == numbers
    assert faces.num_identities == max(numbers) + 1
    assert faces.people == ([] if labels[0].isdigit() else ["ann", "zoe"])
    assert faces.__getitems__([1]).images.shape == (1, 3, 112, 112)
    assert open_list(path, root=folder / "zoe").name(1) == str(folder / "zoe" / "zoe" / "b.jpg")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must name the columns path and label, got ''"),
        ("a.jpg,0\n", "must name the columns path and label, got 'a.jpg,0'"),
        ("path,label\na.jpg\n", "line 2 must have the 2 columns path,label"),
        ("path,label\na.jpg,0\n,1\n", "line 3 must have"),
        ("path,label\na.jpg,0\nb.jpg,ann\n", "all be names; among numbers there is 'ann'"),
        ("path,label\n", "holds no images"),
        ('path,label\n\0,0\n"', ""),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    if complaint:
        with pytest.raises(ValueError, match=complaint):
            open_list(tmp_path / "list.csv")
    else:
        with pytest.raises(ValueError, match="list"):
            open_list(tmp_path / "list.csv").__getitems__([0])


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "list.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ValueError, match="is no Parquet list"):
        open_list(tmp_path / "list.parquet")
    with pytest.raises(FileNotFoundError, match="no list"):
        open_list(tmp_path / "absent.csv")


def test_a_path_table_is_a_list_of_paths() -> None:
    paths = ["a", "", "ü/ß.jpg", "x" * 1000, "\udce4"]
    table = PathTable(paths)
    assert [table[i] for i in range(len(table))] == paths
    for index in (-1, 5):
        with pytest.raises(IndexError, match=f"no path {index} among 5"):
            table[index]
    assert len(PathTable([])) == 0
    assert np.asarray(PathTable(["ab"])._text).tolist() == [97, 98]


def test_links_are_followed_and_those_back_are_not(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, make_jpeg: Callable
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "1.jpg").write_bytes(make_jpeg(5))
    (folder / "linked").symlink_to(elsewhere)
    (folder / "ann" / "more").symlink_to(elsewhere)
    (folder / "ann" / "back").symlink_to(folder)
    faces = open_folder(folder)
    found = [faces.paths[i] for i in range(len(faces)) if "back" not in faces.paths[i]]
    assert found == ["ann/1.jpeg", "ann/more/1.jpg", "linked/1.jpg", "zoe/a.PNG", "zoe/b.jpg"]
    assert set(files_below(folder / "ann")) >= {"1.jpeg", "more/1.jpg"}
    assert not any(name.count("back") > 1 for name in files_below(folder / "ann"))


def test_pictures_of_kinds_that_are_not_read_are_told_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "nobody" / "a.GIF").touch()
    assert open_folder(folder).num_identities == 2
    assert "nobody/a.GIF" in caplog.text


def test_numbers_with_a_point_and_a_mark_of_byte_order_are_read(tmp_path: Path) -> None:
    lines = "".join(f"{number}.jpg,{number}.0\n" for number in range(12))
    (tmp_path / "list.csv").write_text(f"path,label\n{lines}", encoding="utf-8-sig")
    faces = open_list(tmp_path / "list.csv")
    assert faces.labels.tolist() == list(range(12))  # as names, 10.0 would come before 2.0
    (tmp_path / "empty.csv").write_text("path,label\n")
    with pytest.raises(ValueError, match="holds no images"):
        open_list(tmp_path / "empty.csv")


def test_numbers_that_leave_most_out_are_counted_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Labels of 0, 1000 and 2000 would train 2,001 classes for three people (cases F4, N14)."""
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{n}.jpg,{1000 * (n % 3)}\n" for n in range(7)))
    faces = open_list(tmp_path / "list.csv")
    assert faces.num_identities == 3
    assert faces.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert faces.people == ["0", "1000", "2000"]
    assert "counted anew" in caplog.text
    (tmp_path / "near.csv").write_text("path,label\na.jpg,0\nb.jpg,2\nc.jpg,4\n")
    assert open_list(tmp_path / "near.csv").labels.tolist() == [0, 2, 4]


def test_the_parts_of_a_split_are_not_people(tmp_path: Path) -> None:
    """Case F10."""
    for part in ("train", "val"):
        for person in ("ann", "bob"):
            (tmp_path / part / person).mkdir(parents=True)
            (tmp_path / part / person / "1.jpg").touch()
    with pytest.raises(
        ValueError, match=r"parts of a data set \(train, val\), not people: give .*train, which holds ann"
    ):
        open_folder(tmp_path)
    assert open_folder(tmp_path / "train").people == ["ann", "bob"]


def test_an_image_under_two_labels_is_refused_and_what_no_line_names_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jp*g"))
    (folder / names[0]).with_name("unnamed.jpg").touch()
    lines = [f"{names[0]},ann", f"{names[0]},ann"]
    (folder / "list.csv").write_text("\n".join(["path,label", *lines, ""]))
    assert len(open_list(folder / "list.csv")) == 1
    assert f"names 1 images again, such as {names[0]}" in caplog.text
    assert "are named by no list" in caplog.text
    (folder / "two.csv").write_text("\n".join(["path,label", *lines, f"{names[0]},bob", ""]))
    with pytest.raises(ValueError, match="twice, as ann and as bob"):
        open_list(folder / "two.csv")


def _people(root: Path, make_jpeg: Callable, names: Sequence[str]) -> Path:
    for number, name in enumerate(names):
        for image in range(2):
            path = root / name / f"{image}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make_jpeg(10 * number + image))
    return root


def test_the_training_part_is_the_one_named(tmp_path: Path, make_jpeg: Callable) -> None:
    root = _people(tmp_path / "split", make_jpeg, ["testing/a", "training/b", "validation/c"])
    with pytest.raises(ValueError, match=r"give .*split/training, which holds b and others"):
        open_folder(root)


def test_a_copied_person_and_names_written_in_two_ways_are_told(
    tmp_path: Path, make_jpeg: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    root = _people(tmp_path / "copies", make_jpeg, ["Ann", "Bob", "Cyd"])
    open_folder(root)
    assert not caplog.text
    copies = tmp_path / "with"
    shutil.copytree(root, copies)
    shutil.copytree(root / "Ann", copies / "ann")
    (copies / "Dan").symlink_to(copies / "Bob")
    open_folder(copies)
    assert "'Ann' and 'ann' are two people" in caplog.text
    assert "2 people have the pictures of another, ann those of Ann the first" in caplog.text
    caplog.clear()
    (tmp_path / "with" / "list.csv").write_text("path,label\nAnn/0.jpg,Zoe\nBob/0.jpg,zoe\nCyd/0.jpg,Yan\n")
    open_list(tmp_path / "with" / "list.csv")
    assert "'Zoe' and 'zoe' are two people" in caplog.text


def test_people_one_folder_deeper_are_told(
    tmp_path: Path, make_jpeg: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    deeper = _people(tmp_path / "deeper", make_jpeg, ["female/a", "female/b", "male/c", "male/d"])
    open_folder(deeper)
    assert "2 people, female the first, whose images all lie in folders inside (a the first)" in caplog.text
    caplog.clear()
    open_folder(_people(tmp_path / "videos", make_jpeg, ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2"]))
    assert not caplog.text


def test_numbers_of_nobody_are_told(tmp_path: Path, make_jpeg: Callable, caplog: pytest.LogCaptureFixture) -> None:
    _people(tmp_path, make_jpeg, ["a", "b"])
    (tmp_path / "list.csv").write_text("path,label\na/0.jpg,1\na/1.jpg,1\nb/0.jpg,4\n")
    assert open_list(tmp_path / "list.csv").num_identities == 5
    assert "its labels name 2 people and go up to 4: 3 of the classes stand for nobody" in caplog.text
    (tmp_path / "one.csv").write_text("path,label\na/0.jpg,7\na/1.jpg,7\n")
    with pytest.raises(ValueError, match="the data has 1 person"):
        RecognitionData(tmp_path / "one.csv")
