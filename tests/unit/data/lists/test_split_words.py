"""Every word for a split is read alike by every list and by every form of folders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import encode_png

from transface.data.lists.split_words import NUMBERED_SPLITS, SPLIT_COLUMNS, SPLIT_WORDS
from transface.data.sources.attributes.attribute_set import SPLIT_NUMBERS
from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.dense.pts_files import read_pts_files
from transface.data.sources.face_labels import open_label_files
from transface.data.sources.image_files import open_folder

WORDS = SPLIT_WORDS | NUMBERED_SPLITS
PNG = encode_png(torch.zeros(3, 8, 8, dtype=torch.uint8)).numpy().tobytes()


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PNG)


@pytest.mark.parametrize("head", [*SPLIT_COLUMNS, "Usage", " Split "])
def test_lists_of_labels_and_tables_of_attributes_read_the_same_words(head: str, tmp_path: Path) -> None:
    rows = []
    for number, word in enumerate(WORDS):
        touch(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number},{number % 2},{(word, word.upper(), f' {word.title()} ')[number % 3]}")
    (tmp_path / "ages.csv").write_text("\n".join([f"path,age,remark,{head}", *rows]))
    (tmp_path / "table.csv").write_text("\n".join([f"path,identity,Smiling,{head}", *rows]))
    assert open_label_files(tmp_path / "ages.csv").split.tolist() == list(WORDS.values())
    found = open_attributes(tmp_path / "table.csv")
    assert found.labels.names == ("Smiling",)
    assert found.splits.tolist() == [SPLIT_NUMBERS[split] for split in WORDS.values()]


@pytest.mark.parametrize("cells", [("train", "fold7"), ("train", ""), ("0", "3"), ("1", "eval")])
def test_both_refuse_what_is_no_split(cells: tuple[str, str], tmp_path: Path) -> None:
    for number in range(2):
        touch(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{number},{cell}" for number, cell in enumerate(cells)]
    (tmp_path / "a.csv").write_text("\n".join(["path,age,split", *rows]))
    (tmp_path / "t.csv").write_text("\n".join(["path,Smiling,split", *rows]))
    for read, file in ((open_label_files, "a.csv"), (open_attributes, "t.csv")):
        with pytest.raises(ValueError, match=rf"must say train, val or test in every row .*got '{cells[1]}' in 1 of 2"):
            read(tmp_path / file)  # type: ignore[operator]


def test_a_column_without_any_word_is_no_column(tmp_path: Path) -> None:
    for number in range(4):
        touch(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{number % 2}," for number in range(4)]
    (tmp_path / "a.csv").write_text("\n".join(["path,age,split", *rows]))
    (tmp_path / "t.csv").write_text("\n".join(["path,Smiling,split", *rows]))
    assert set(open_label_files(tmp_path / "a.csv").split.tolist()) == {""}
    assert set(open_attributes(tmp_path / "t.csv", val_identity_share=0).splits.tolist()) == {0}


@pytest.mark.parametrize("word", list(SPLIT_WORDS))
def test_folders_of_every_form_are_the_splits_that_they_are_named_after(word: str, tmp_path: Path) -> None:
    folder = word.title()
    for name in ("happy/1.png", "sad/2.png"):
        touch(tmp_path / "classes" / folder / name)
        touch(tmp_path / "people" / folder / name)
    for number in range(2):
        touch(tmp_path / "utkface" / folder / f"2{number}_0_0_2017.png")
    touch(tmp_path / "points" / folder / "1.png")
    (tmp_path / "points" / folder / "1.pts").write_text("version: 1\nn_points: 2\n{\n1 1\n4 4\n}\n")
    for name in ("classes", "utkface"):
        assert set(open_label_files(tmp_path / name).split.tolist()) == {SPLIT_WORDS[word]}
    assert np.asarray(read_pts_files(tmp_path / "points").splits).tolist() == [SPLIT_WORDS[word]]
    with pytest.raises(ValueError, match=rf"parts of a data set \({folder}\), not people"):
        open_folder(tmp_path / "people")


def test_folders_that_are_numbers_are_classes_and_people(tmp_path: Path) -> None:
    for name in ("0/1.png", "1/2.png", "2/3.png"):
        touch(tmp_path / name)
    assert set(open_label_files(tmp_path).split.tolist()) == {""}
    assert open_folder(tmp_path).people == ["0", "1", "2"]
