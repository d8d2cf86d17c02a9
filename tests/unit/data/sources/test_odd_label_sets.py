"""What real downloads of ages, expressions and attributes do to their readers: one set, changed in one place each."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.data.sources.changed_lists import change

from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.face_labels import open_label_files
from transface.data.sources.labelled_set import LabelledSet
from transface.synthetic.world import label_forms
from transface.synthetic.world.label_forms import Faces, known_faces

WRITERS: dict[str, Callable[..., Any]] = {
    "morph2": label_forms.write_morph2,
    "utkface_lists": label_forms.write_utkface_lists,
    "affectnet_lists": label_forms.write_affectnet,
    "raf_db_lists": label_forms.write_raf_db,
    "ferplus_lists": label_forms.write_ferplus,
}
TRAIN = {
    "morph2": "label/RANDOM_80_20/train.txt",
    "utkface_lists": "label/train.csv",
    "affectnet_lists": "label/train.txt",
    "raf_db_lists": "label.txt",
    "ferplus_lists": "label/train.txt",
}


@pytest.fixture(scope="module")
def faces() -> Faces:
    return known_faces(20, seed=2)


@pytest.fixture
def write(faces: Faces, tmp_path: Path) -> Callable[[str], Path]:
    def written(name: str) -> Path:
        WRITERS[name](tmp_path / name, faces)
        return tmp_path / name

    return written


def said(root: Path) -> tuple[Any, ...]:
    found = open_label_files(root)
    rows = [labels.take(range(len(found.paths))).tolist() for labels in found.labels.values()]
    return found.paths, found.split.tolist(), rows


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("name", sorted(WRITERS))
def test_marks_of_byte_order_and_line_ends_change_nothing(name: str, end: str, write: Callable[[str], Path]) -> None:
    root = write(name)
    before = said(root)
    for path in [*root.glob("label/**/*.*"), *root.glob("label.txt")]:
        change(path, list, end=end, mark=True)
    assert said(root) == before


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_list_that_names_an_image_again_counts_it_once_and_never_with_two_meanings(
    name: str, write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = write(name)
    before = said(root)
    path = root / TRAIN[name]
    change(path, lambda lines: [*lines, lines[-2]])
    assert said(root) == before
    assert "again" in caplog.text
    last = path.read_text().splitlines()[-1]
    gap = "," if name == "utkface_lists" else " "
    words = last.split(gap)
    place = 1 if gap == " " else 2
    words[place] = str(int(words[place]) + 1 if int(words[place]) < 6 else int(words[place]) - 1)
    change(path, lambda lines: [*lines[:-1], gap.join(words)])
    with pytest.raises(ValueError, match=r"twice|says"):
        open_label_files(root)


@pytest.mark.parametrize("name", ["morph2", "utkface_lists", "affectnet_lists", "ferplus_lists"])
def test_an_image_that_is_trained_on_and_tested_is_refused(name: str, write: Callable[[str], Path]) -> None:
    root = write(name)
    train = root / TRAIN[name]
    test = train.with_name(train.name.replace("train", "test"))
    change(test, lambda lines: [*lines, train.read_text().splitlines()[-1]])
    with pytest.raises(ValueError, match="twice"):
        open_label_files(root)


def test_lists_of_utkface_with_true_ages_are_taken_as_such(
    write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = write("utkface_lists")
    before = said(root)
    for path in root.glob("label/*.csv"):
        change(
            path,
            lambda lines: [
                lines[0],
                *(f"{row.rsplit(',', 1)[0]},{int(row.rsplit(',', 1)[1]) + 21}" for row in lines[1:]),
            ],
        )
    assert said(root) == before
    assert "true years" in caplog.text
    change(root / "label" / "train.csv", lambda lines: [*lines[:3], lines[3].rsplit(",", 1)[0] + ",3", *lines[4:]])
    with pytest.raises(ValueError, match=r"train\.csv: line 4"):
        open_label_files(root)


def test_the_first_line_of_a_list_of_utkface_without_a_head_is_an_image(write: Callable[[str], Path]) -> None:
    root = write("utkface_lists")
    before = said(root)
    change(root / "label" / "train.csv", lambda lines: lines[1:])
    assert said(root) == before


@pytest.mark.parametrize("age", ["-1", "200", "1e9", "nan", "inf", "-inf"])
def test_ages_that_are_none_are_told_by_their_list(age: str, write: Callable[[str], Path]) -> None:
    root = write("morph2")
    change(root / TRAIN["morph2"], lambda lines: [*lines[:2], f"{lines[2].split()[0]} {age}", *lines[3:]])
    with pytest.raises(ValueError, match=r"train\.txt: line 3 .*age"):
        open_label_files(root)


def test_ages_of_0_and_116_are_ages(write: Callable[[str], Path]) -> None:
    root = write("morph2")
    change(
        root / TRAIN["morph2"],
        lambda lines: [f"{lines[0].split()[0]} 0", f"{lines[1].split()[0]} 116", *lines[2:]],
    )
    assert said(root)[2][0][:2] == [0, 116]


@pytest.mark.parametrize("odd", [8, 9, 10])
def test_affectnets_classes_that_are_no_expression_are_left_out_of_lists_too(
    odd: int, write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = write("affectnet_lists")
    before = said(root)[0]
    change(root / TRAIN["affectnet_lists"], lambda lines: [f"{lines[0].split()[0]} {odd}", *lines[1:]])
    assert said(root)[0] == before[1:]
    assert "named by no list" not in caplog.text
    change(root / TRAIN["affectnet_lists"], lambda lines: [f"{lines[0].split()[0]} 11", *lines[1:]])
    with pytest.raises(ValueError, match=r"0\.\.10"):
        open_label_files(root)


def test_aligned_names_of_raf_db_are_found_by_its_list(write: Callable[[str], Path]) -> None:
    root = write("raf_db_lists")
    before = said(root)
    for path in sorted((root / "data").glob("*.jpg")):
        path.rename(path.with_name(f"{path.stem}_aligned.jpg"))
    after = said(root)
    assert after[1:] == before[1:]
    assert after[0] == [f"{path[:-4]}_aligned.jpg" for path in before[0]]


def raf_db(root: Path, lines: list[str], images: list[str]) -> Path:
    for name in images:
        path = root / "basic" / "Image" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (root / "basic" / "EmoLabel").mkdir()
    (root / "basic" / "EmoLabel" / "list_patition_label.txt").write_bytes("\r\n".join(lines).encode())
    return root


def test_what_raf_db_does_not_have_is_rejected_by_name(tmp_path: Path) -> None:
    aligned = [f"aligned/{name}_aligned.jpg" for name in ("train_00001", "train_00002", "test_0001", "other_1")]
    root = raf_db(
        tmp_path,
        ["\ufefftrain_00001.jpg 4", "train_00002.jpg 12", "train_00003.jpg 1", "test_0001.jpg 7", "other_1.jpg 2"],
        [*aligned, "original/train_00003.jpg", "original/train_00001.jpg"],
    )
    found = open_label_files(root)
    assert found.paths == [f"basic/Image/{name}" for name in (aligned[0], aligned[2])]
    assert [name.split(":")[0] for name in found.rejected] == ["train_00002.jpg", "train_00003.jpg", "other_1.jpg"]


def test_original_photographs_of_raf_db_alone_are_taken(tmp_path: Path) -> None:
    root = raf_db(
        tmp_path, ["train_00001.jpg 4", "test_0001.jpg 7"], ["original/train_00001.jpg", "original/test_0001.jpg"]
    )
    assert len(open_label_files(root).paths) == 2


def affectnet(root: Path, rows: list[str], images: list[str], *, mark: bool = False) -> Path:
    for name in images:
        path = root / "Manually_Annotated" / "Manually_Annotated_Images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    lists = root / "Manually_Annotated_file_lists"
    lists.mkdir()
    text = "\n".join(["subDirectory_filePath,face_x,expression", *rows, ""])
    (lists / "training.csv").write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.encode())
    return root


def test_the_older_lists_of_affectnet_may_have_a_mark_and_name_images_that_are_not_there(tmp_path: Path) -> None:
    root = affectnet(tmp_path, ["1/a.jpg,3,6", "1/b.jpg,3,1", "1/c.jpg,3,2"], ["1/a.jpg", "1/b.jpg"], mark=True)
    found = open_label_files(root)
    assert found.paths == ["1/a.jpg", "1/b.jpg"]
    assert found.rejected == ["1/c.jpg: labelled, and not there"]


def test_lists_may_not_lead_out_of_their_folder(tmp_path: Path, write: Callable[[str], Path], faces: Faces) -> None:
    root = write("morph2")
    image = next((root / "data").rglob("*.jpg"))
    shutil.copy(image, tmp_path / "outside.jpg")
    for name in ("../../outside.jpg", str(tmp_path / "outside.jpg")):
        change(root / TRAIN["morph2"], lambda lines, name=name: [*lines[:-1], f"{name} 30"])
        with pytest.raises(ValueError, match="lies outside"):
            open_label_files(root)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.csv").write_text("path,age\n../outside.jpg,3\n")
    with pytest.raises(ValueError, match="lies outside"):
        open_label_files(inner / "a.csv")
    (inner / "b.csv").write_text("path,smiling\n../outside.jpg,1\n")
    with pytest.raises(ValueError, match="lies outside"):
        open_attributes(inner / "b.csv")
    label_forms.write_celeba(tmp_path / "celeba", faces)
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt"):
        change(
            tmp_path / "celeba" / name,
            lambda lines: [line.replace("000004.jpg", "../../outside.jpg") for line in lines],
        )
    with pytest.raises(ValueError, match="lies outside"):
        open_attributes(tmp_path / "celeba")


def test_utkface_partly_in_folders_of_splits_is_split_by_them(tmp_path: Path) -> None:
    names = [f"{20 + k}_{k % 2}_0_2017{k}.jpg.chip.jpg" for k in range(8)]
    for k, name in enumerate(names):
        path = tmp_path / ("train", "test", "", "part1/train")[k % 4] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    found = open_label_files(tmp_path)
    split = dict(zip(found.paths, found.split.tolist(), strict=True))
    assert split == {
        f"train/{names[0]}": "train",
        f"train/{names[4]}": "train",
        f"test/{names[1]}": "test",
        f"test/{names[5]}": "test",
        f"part1/train/{names[3]}": "train",
        f"part1/train/{names[7]}": "train",
    }
    assert [name.split(":")[0] for name in found.rejected] == sorted([names[2], names[6]])


def label_pickle(root: Path, faces: Faces, **changes: Any) -> Path:
    label_forms.write_label_pickle(root, faces)
    held = pickle.loads((root / "label.pkl").read_bytes())
    for key, change_of in changes.items():
        held[key] = change_of(held[key])
    (root / "label.pkl").write_bytes(pickle.dumps(held))
    return root


def test_a_pickle_without_0_has_celebas_own_no(faces: Faces, tmp_path: Path) -> None:
    """-1 is unknown beside 0 and 1; where 0 does not occur it is CelebA's no, and nothing is unknown."""
    plain = open_attributes(label_pickle(tmp_path / "a", faces))
    own = open_attributes(label_pickle(tmp_path / "b", faces, attr=lambda rows: (2 * np.array(rows) - 1).tolist()))
    assert np.array_equal(own.labels.values, plain.labels.values)
    assert own.labels.known.all()
    some = open_attributes(label_pickle(tmp_path / "c", faces, attr=lambda rows: [[-1, *rows[0][1:]], *rows[1:]]))
    assert (~some.labels.known).sum() == 1


def test_a_pickle_with_halves_or_two_splits_of_one_image_is_refused(faces: Faces, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"-1 .*0 and 1"):
        open_attributes(label_pickle(tmp_path / "a", faces, attr=lambda rows: [[0.5, *rows[0][1:]], *rows[1:]]))
    with pytest.raises(ValueError, match="train and test"):
        open_attributes(
            label_pickle(tmp_path / "b", faces, partition=lambda parts: {**parts, "test": [0, *parts["test"]]})
        )


def test_images_that_no_part_of_a_pickle_names_are_not_tested_on(
    faces: Faces, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = label_pickle(tmp_path, faces, partition=lambda parts: {**parts, "train": parts["train"][1:], "trainval": []})
    found = open_attributes(root)
    assert len(found.paths) == len(faces.jpegs) - 1
    assert "000001.jpg" in caplog.text


def test_celeba_as_its_archive_unpacks_is_read(faces: Faces, tmp_path: Path) -> None:
    label_forms.write_celeba(tmp_path, faces)
    for folder, names in (
        ("Anno", ["list_attr_celeba.txt", "identity_CelebA.txt"]),
        ("Eval", ["list_eval_partition.txt"]),
        ("Img", ["img_align_celeba"]),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / name).rename(tmp_path / folder / name)
    assert len(open_attributes(tmp_path).paths) == len(faces.jpegs)


def test_names_of_digits_stay_as_they_are_written(tmp_path: Path) -> None:
    for name in ("007", "7"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.csv").write_text("path,identity,smiling\n007,01,1\n7,1,0\n")
    found = open_attributes(tmp_path / "a.csv")
    assert found.paths == ["007", "7"]
    assert len(set(found.identities.tolist())) == 2  # type: ignore[union-attr]


def test_a_list_of_ages_with_a_mark_and_spaces_is_read(tmp_path: Path) -> None:
    (tmp_path / "a b.jpg").write_bytes(b"1")
    (tmp_path / "c.jpg").write_bytes(b"2")
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfpath,age\r\na b.jpg, 30 \r\nc.jpg,31\r\n")
    found = LabelledSet(tmp_path / "a.csv", image_size=16)
    assert found.columns["age"].take([0, 1]).tolist() == [30, 31]


def test_lists_of_other_names_than_fers_are_not_guessed_to_be_fer_plus(write: Callable[[str], Path]) -> None:
    """AffectNet's lists with a val.txt beside have FER+'s look, and another order of expressions."""
    assert len(open_label_files(write("ferplus_lists")).paths) == 20
    root = write("affectnet_lists")
    before = said(root)
    lists = root / "label"
    moved = (lists / "train.txt").read_text().splitlines()
    (lists / "val.txt").write_text(moved[0] + "\n")
    (lists / "train.txt").write_text("\n".join(moved[1:]) + "\n")
    with pytest.raises(ValueError, match="kind=affectnet_lists or kind=ferplus_lists"):
        open_label_files(root)
    found = open_label_files(root, "affectnet_lists")
    order = [before[0].index(path) for path in found.paths]
    assert found.labels["expression"].take(range(len(order))).tolist() == [before[2][0][place] for place in order]
    assert found.split[found.paths.index(moved[0].split()[0])] == "val"


@pytest.mark.parametrize("folders", [("train_data", "test_data"), ("fold1", "fold2"), ("UTKFace", "other")])
def test_folders_of_expressions_one_folder_lower_are_told(folders: tuple[str, ...], tmp_path: Path) -> None:
    for above in folders:
        for word in ("happy", "sad"):
            path = tmp_path / above / word / "a.jpg"
            path.parent.mkdir(parents=True)
            path.write_bytes(f"{above}{word}".encode())
    with pytest.raises(ValueError, match=f"{min(folders)} holds folders of expressions, happy"):
        open_label_files(tmp_path, "classes")


def test_folders_inside_classes_are_no_classes(tmp_path: Path) -> None:
    for word in ("happy", "sad"):
        for who in ("S010", "S011"):
            path = tmp_path / word / who / "a.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(f"{word}{who}".encode())
    assert len(open_label_files(tmp_path).paths) == 4


def test_annotations_of_affectnet_that_are_no_number_are_left_out_by_name(tmp_path: Path) -> None:
    (tmp_path / "train_set" / "annotations").mkdir(parents=True)
    (tmp_path / "train_set" / "images").mkdir()
    (tmp_path / "train_set" / "annotations" / "._0_exp.npy").write_bytes(b"\0\5\26\7")  # of an archive of macOS
    given = [np.array("1"), np.array(2), np.array([3]), np.array("x"), np.array([1, 2]), b"", b"\x93NUMPY"]
    for place, value in enumerate(given):
        (tmp_path / "train_set" / "images" / f"{place}.jpg").write_bytes(bytes([place]))
        path = tmp_path / "train_set" / "annotations" / f"{place}_exp.npy"
        if isinstance(value, bytes):
            path.write_bytes(value)
        else:
            np.save(path, value)
    found = open_label_files(tmp_path)
    assert found.labels["expression"].take([0, 1, 2]).tolist() == [1, 2, 3]
    assert [name.split(":")[0] for name in found.rejected] == [f"{place}_exp.npy" for place in range(3, 7)]


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_root_one_folder_too_high_or_too_low_names_the_one_meant(
    name: str, write: Callable[[str], Path], tmp_path: Path
) -> None:
    root = write(name)
    (tmp_path / "another" / "set").mkdir(parents=True)  # with it there are two "classes"
    shutil.copy(next((root / "data").rglob("*.jpg")), tmp_path / "another" / "set" / "a.jpg")
    for given in (tmp_path, root / "data"):
        with pytest.raises(ValueError, match=f"{root} has those of {name}: give that folder, or kind="):
            open_label_files(given)


def test_images_of_raf_db_without_its_lists_are_no_classes(tmp_path: Path) -> None:
    names = ["aligned/train_00001_aligned.jpg", "original/train_00001.jpg"]
    root = raf_db(tmp_path, ["train_00001.jpg 4"], names)
    with pytest.raises(ValueError, match="has those of raf_db"):
        open_label_files(root / "basic" / "Image")


def test_classes_beside_other_sets_are_classes(tmp_path: Path, write: Callable[[str], Path]) -> None:
    write("morph2")
    for word in ("happy", "sad"):
        path = tmp_path / "mine" / word / "a.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(word.encode())
    assert len(open_label_files(tmp_path / "mine").paths) == 2


@pytest.mark.parametrize("writer", [label_forms.write_celeba, label_forms.write_label_pickle])
def test_attributes_one_folder_too_high_or_too_low_name_the_one_meant(
    writer: Callable[..., Any], faces: Faces, tmp_path: Path
) -> None:
    root = tmp_path / "celeba"
    writer(root, faces)
    lower = next(path for path in root.iterdir() if path.is_dir())
    for given in (tmp_path, lower):
        with pytest.raises(ValueError, match=rf"{root} has them: give that folder"):
            open_attributes(given)


@pytest.mark.parametrize("name", ["morph2", "utkface_lists", "affectnet_lists", "ferplus_lists"])
def test_an_empty_list_is_told(name: str, write: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    root = write(name)
    open_label_files(root)
    assert "names no image" not in caplog.text
    test = (root / TRAIN[name]).with_name(Path(TRAIN[name]).name.replace("train", "test"))
    change(test, lambda lines: lines[:1] if name == "utkface_lists" else [])
    open_label_files(root)
    assert f"{test} names no image" in caplog.text
