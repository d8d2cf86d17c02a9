"""Readers of published sets: names, votes, trees, lists; junk is listed, nothing is dropped silently."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import encode_jpeg

from transface.data.labels.expressions import FERPLUS, majority_expression
from transface.data.sampling.splits import stratified_split
from transface.data.sources.face_labels import open_label_files, read_ferplus_labels
from transface.data.sources.labelled_set import LabelledSet

PICTURES = iter(range(10_000))


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(next(PICTURES))
    path.write_bytes(
        encode_jpeg(torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=generator)).numpy().tobytes()
    )


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([0, 10, 0, 0, 0, 0, 0, 0, 0, 0], 1),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], -1),  # a tie is no majority
        ([4, 1, 1, 1, 1, 1, 1, 0, 0, 0], 0),  # single votes are dropped
        ([0, 3, 0, 0, 0, 0, 0, 0, 7, 0], -1),  # unknown wins
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], -1),  # no face
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], -1),
        ([0, 5, 0, 0, 0, 0, 0, 0, 5, 0], -1),  # half is not more than half
    ],
)
def test_the_majority_needs_more_than_half_of_the_votes_that_are_left(votes: list[int], expected: int) -> None:
    assert majority_expression(votes) == expected


def test_both_ferplus_lists_are_read_and_rows_without_an_image_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "label.csv").write_text(
        'fer0000000.png,"(0, 0, 48, 48)",0,9,1,0,0,0,0,0,0,0\nfer0000001.png,"(0, 0, 48, 48)",5,5,0,0,0,0,0,0,0,0\n'
    )
    assert read_ferplus_labels(tmp_path / "label.csv") == [("fer0000000.png", 1), ("fer0000001.png", -1)]
    header = "Usage,Image name," + ",".join([*FERPLUS, "unknown", "NF"])
    (tmp_path / "fer2013new.csv").write_text(
        f"{header}\nTraining,fer0000000.png,4,0,0,1,3,2,0,0,0,0\nTraining,,0,0,0,0,0,0,0,0,0,10\n"
    )
    assert read_ferplus_labels(tmp_path / "fer2013new.csv") == [("fer0000000.png", -1)]


def test_utkface_names_are_read_and_junk_is_listed(tmp_path: Path) -> None:
    names = [
        "25_0_1_20170116174525125.jpg.chip.jpg",
        "61_1_20170109150557335.jpg.chip.jpg",
        "1_1_4_20161219140623097.jpg",
    ]
    junk = ["61_3_20170109150557335.jpg.chip.jpg", "photo.jpg", "300_0_1_20170116174525125.jpg"]
    for name in names + junk:
        write(tmp_path / name)
    found = open_label_files(tmp_path, "utkface")
    assert sorted(found.paths) == sorted(names)
    assert len(found.rejected) == 3
    assert all(any(name in line for line in found.rejected) for name in junk)
    by_name = {path: k for k, path in enumerate(found.paths)}
    assert found.labels["age"].take([by_name[names[0]]]).tolist() == [25.0]
    assert found.labels["gender"].take([by_name[names[1]]]).tolist() == [1]
    assert open_label_files(tmp_path).labels.keys() == {"gender", "age"}  # found by its look


def test_folders_of_classes_with_and_without_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for word in ("happy", "sad"):
            write(tmp_path / "fer" / split / word / f"{split}.jpg")
    found = open_label_files(tmp_path / "fer")
    assert found.labels["expression"].names == ("happiness", "sadness")
    assert sorted(set(found.split.tolist())) == ["test", "train"]
    for word in ("cat", "dog"):
        for k in range(10):
            write(tmp_path / "own" / word / f"{k}.jpg")
    own = LabelledSet(tmp_path / "own", image_size=16)
    assert own.columns["expression"].names == ("cat", "dog")
    assert {len(own.rows(split)) for split in ("train", "val", "test")} == {14, 2, 4}


def test_a_list_gives_any_of_the_labels_and_empty_cells_are_unknown(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"{k}.jpg")
    (tmp_path / "list.csv").write_text("path,age,gender,split\n0.jpg,31,f,train\n1.jpg,,male,val\n2.jpg,4.5,,test\n")
    found = open_label_files(tmp_path / "list.csv")
    assert found.labels["gender"].take([0, 1, 2]).tolist() == [1, 0, -1]
    assert np.isnan(found.labels["age"].take([1])).all()
    assert found.split.tolist() == ["train", "val", "test"]
    (tmp_path / "bad.csv").write_text("path,age\n0.jpg,old\n")
    with pytest.raises(ValueError, match="ages are numbers"):
        open_label_files(tmp_path / "bad.csv")
    (tmp_path / "worse.csv").write_text("file,mood\n0.jpg,old\n")
    with pytest.raises(ValueError, match="first line must name path"):
        open_label_files(tmp_path / "worse.csv")


def test_affectnet_trees_drop_the_classes_that_are_no_expression(tmp_path: Path) -> None:
    for k, expression in enumerate(["0", "7", "8", "10"]):
        write(tmp_path / "train_set" / "images" / f"{k}.jpg")
        (tmp_path / "train_set" / "annotations").mkdir(exist_ok=True)
        np.save(tmp_path / "train_set" / "annotations" / f"{k}_exp.npy", np.array(expression))
    found = open_label_files(tmp_path)
    assert found.paths == ["train_set/images/0.jpg", "train_set/images/1.jpg"]
    old = tmp_path / "old"
    write(old / "Manually_Annotated" / "Manually_Annotated_Images" / "1" / "a.JPG")
    (old / "Manually_Annotated_file_lists").mkdir()
    (old / "Manually_Annotated_file_lists" / "training.csv").write_text(
        "subDirectory_filePath,face_x,expression\n1/a.JPG,3,6\n1/b.jpg,3,9\n"
    )
    assert open_label_files(old, "affectnet").labels["expression"].take([0]).tolist() == [6]


def test_raf_db_is_read_by_its_list(tmp_path: Path) -> None:
    for name in ("train_00001", "test_0001"):
        write(tmp_path / "basic" / "Image" / "aligned" / f"{name}_aligned.jpg")
    (tmp_path / "basic" / "EmoLabel").mkdir()
    (tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt").write_text(
        "train_00001.jpg 4\ntest_0001.jpg 7\ntest_0002.jpg 1\n"
    )
    found = open_label_files(tmp_path)
    assert [found.labels["expression"].names[k] for k in found.labels["expression"].take([0, 1])] == [
        "happiness",
        "neutral",
    ]
    assert found.rejected == ["test_0002.jpg: not there"]


def test_splits_keep_groups_together_and_do_not_depend_on_the_order_of_files() -> None:
    groups = [f"person{k // 3}" for k in range(300)]
    strata = np.arange(300) // 3 % 4
    split = stratified_split(strata, groups)
    assert all(len(set(split[3 * k : 3 * k + 3].tolist())) == 1 for k in range(100))
    assert [int((split == name).sum()) for name in ("train", "val", "test")] == pytest.approx([210, 30, 60], abs=9)
    order = np.random.default_rng(0).permutation(300)
    again = stratified_split(strata[order], [groups[k] for k in order])
    assert (again == split[order]).all()
    with pytest.raises(ValueError, match="sum to 1"):
        stratified_split(strata, groups, shares=(0.5, 0.2, 0.2))


def test_nothing_there_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data at"):
        open_label_files(tmp_path / "none")
    with pytest.raises(ValueError, match="at least two classes"):
        open_label_files(tmp_path)


@pytest.mark.parametrize("folders", [("part1", "part2"), ("UTKFace",), ("train", "test")])
def test_utkface_in_folders_is_read_by_its_names_and_not_as_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for k in range(6):
        write(tmp_path / folders[k % len(folders)] / f"{20 + k}_{k % 2}_0_2017{k}.jpg.chip.jpg")
    found = open_label_files(tmp_path)
    assert sorted(found.labels["age"].take(range(6)).tolist()) == [20, 21, 22, 23, 24, 25]
    assert sorted(set(found.split.tolist())) == (["test", "train"] if "train" in folders else [""])


def test_the_split_of_a_set_does_not_depend_on_the_labels_that_are_asked_for(tmp_path: Path) -> None:
    for k in range(60):
        write(tmp_path / f"{1 + k}_{k % 2}_0_2017{k}.jpg")
    splits = [
        LabelledSet(tmp_path, columns=columns, image_size=16).split_hash for columns in (None, ["age"], ["gender"])
    ]
    assert len(set(splits)) == 1


def test_images_in_folders_beside_splits_or_classes_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train/happy/a.jpg", "train/sad/b.jpg", "dev/sad/c.jpg", "eval/happy/d.jpg", "train/e.jpg"):
        write(tmp_path / name)
    found = open_label_files(tmp_path)
    assert sorted(found.split.tolist()) == ["train", "train", "val"]
    assert [name.split(":")[0] for name in found.rejected] == ["eval/happy/d.jpg", "train/e.jpg"]
    assert "2 files are left out" in caplog.text


@pytest.mark.parametrize(
    ("head", "cells"),
    [
        ("Usage", ("Training", "PublicTest", "PrivateTest")),
        ("split", ("0", "1", "2")),
        ("Split", ("TRAIN", "dev", "test")),
    ],
)
def test_the_splits_of_a_list_are_those_it_says(tmp_path: Path, head: str, cells: tuple[str, ...]) -> None:
    for k in range(3):
        write(tmp_path / f"{k}.jpg")
    lines = [f"{k}.jpg,{20 + k},{cell}" for k, cell in enumerate(cells)]
    (tmp_path / "a.csv").write_text("\n".join([f"path,age,{head}", *lines, ""]))
    assert open_label_files(tmp_path / "a.csv").split.tolist() == ["train", "val", "test"]
    for odd in ("", "fold7"):
        (tmp_path / "b.csv").write_text("\n".join([f"path,age,{head}", *lines[:2], f"2.jpg,22,{odd}", ""]))
        with pytest.raises(ValueError, match=f"must say train, val or test in every row .* got '{odd}' in 1 of 3"):
            open_label_files(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["path,age", "0.jpg,3", "9.jpg,4"], "9.jpg of .* not in"),
        (["path,age", "0.jpg,3", "0.jpg,4"], "0.jpg twice, and says two things"),
        (["path,expression,label", "0.jpg,happy,sad"], "two names of one"),
    ],
)
def test_lists_that_contradict_themselves_or_the_disk_are_refused(
    tmp_path: Path, lines: list[str], complaint: str
) -> None:
    write(tmp_path / "0.jpg")
    (tmp_path / "a.csv").write_text("\n".join([*lines, ""]))
    with pytest.raises((ValueError, FileNotFoundError), match=complaint):
        open_label_files(tmp_path / "a.csv")


def test_numbers_of_eight_classes_are_no_words(tmp_path: Path) -> None:
    for k in range(8):
        write(tmp_path / f"{k}.jpg")
    (tmp_path / "a.csv").write_text("path,expression\n" + "".join(f"{k}.jpg,{k}\n" for k in range(8)))
    assert open_label_files(tmp_path / "a.csv").labels["expression"].names == tuple("01234567")


def test_folders_taken_as_classes_hold_no_other_warning_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("adults/20_0_0_1.jpg", "children/5_1_0_2.jpg", "70_0_0_3.jpg"):
        write(tmp_path / name)
    for _ in range(2):
        assert open_label_files(tmp_path).rejected == ["70_0_0_3.jpg: in no folder of a class"]
    assert caplog.text.count("(adults, children) are taken as classes: kind=utkface reads the names") == 1
    assert caplog.text.count("1 files are left out: 70_0_0_3.jpg: in no folder of a class") == 1


def test_numbers_are_classes_in_their_order_and_alike_in_all_splits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split, numbers in (("train", range(12)), ("test", (2, 10, 11))):
        for number in numbers:
            write(tmp_path / split / str(number) / f"{split}.jpg")
    with caplog.at_level("WARNING"):
        found = open_label_files(tmp_path)
    labels = found.labels["expression"]
    assert labels.names == tuple(map(str, range(12)))
    for place, path in enumerate(found.paths):
        assert labels.names[int(labels.take([place])[0])] == path.split("/")[1]
    assert "there are no images of 0 in test, 1 in test, 3 in test" in caplog.text


def test_numbers_written_in_two_ways_are_one_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split, words in (("train", ("00", "01")), ("test", ("0", "1"))):
        for word in words:
            write(tmp_path / split / word / "a.jpg")
    found = open_label_files(tmp_path)
    assert found.labels["expression"].names == ("0", "1")
    assert sorted(found.labels["expression"].take(range(4)).tolist()) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("in_train", "in_test"),
    [("Fröhlich", "fröhlich"), ("Fro\u0308hlich", "Fr\u00f6hlich"), ("ÄRGER", "ärger")],
)
def test_classes_of_other_spellings_are_one_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, in_train: str, in_test: str
) -> None:
    for split, word in (("train", in_train), ("test", in_test)):
        for name in (word, "traurig"):
            write(tmp_path / "set" / split / name / f"{split}.jpg")
    with caplog.at_level("WARNING"):
        found = open_label_files(tmp_path / "set")
    labels = found.labels["expression"]
    assert len(labels.names) == 2
    by_split = {split: set(labels.take(np.flatnonzero(found.split == split)).tolist()) for split in ("train", "test")}
    assert by_split == {"train": {0, 1}, "test": {0, 1}}
    assert "words that differ by their spelling alone are one class" in caplog.text
    for place, word in enumerate((in_train, in_test, "traurig")):
        write(tmp_path / f"{place}.jpg")
        with (tmp_path / "list.csv").open("a") as file:
            file.write(("path,label\n" if place == 0 else "") + f"{place}.jpg,{word}\n")
    own = open_label_files(tmp_path / "list.csv").labels["expression"].take([0, 1, 2]).tolist()
    assert own[0] == own[1] != own[2]


def test_folders_without_images_and_classes_without_training_images_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split, words in (("train", ("happy", "sad")), ("test", ("happy", "sad", "angry"))):
        for word in words:
            write(tmp_path / split / word / f"{split}.jpg")
    (tmp_path / "train" / "disgust").mkdir()
    with caplog.at_level("WARNING"):
        found = open_label_files(tmp_path)
        open_label_files(tmp_path)
    assert found.labels["expression"].names == ("happiness", "sadness", "anger")
    assert caplog.text.count("there are no images of anger in train") == 1
    assert caplog.text.count("folders without an image are no class: train/disgust") == 1
