from pathlib import Path

import h5py
import numpy as np
import pytest

from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.sources.attributes.opening import open_attributes

VALUES = np.where(np.random.default_rng(0).random((6, 40)) < 0.4, 1, -1)
NAMES = [f"{number:06d}.jpg" for number in range(1, 7)]
SPLITS = [0, 0, 0, 1, 2, 2]


def celeba(
    root: Path, *, csv: bool = False, names: tuple[str, ...] = CELEBA_NAMES, values: np.ndarray = VALUES
) -> Path:
    (root / "img_align_celeba").mkdir(parents=True)
    for name in NAMES:
        (root / "img_align_celeba" / name).touch()
    if csv:
        rows = [",".join([name, *map(str, row)]) for name, row in zip(NAMES, values, strict=True)]
        (root / "list_attr_celeba.csv").write_text("\n".join([",".join(["image_id", *names]), *rows, ""]))
        (root / "list_eval_partition.csv").write_text(
            "image_id,partition\n" + "".join(f"{n},{s}\n" for n, s in zip(NAMES, SPLITS, strict=True))
        )
    else:
        rows = [f"{name}  " + "  ".join(map(str, row)) for name, row in zip(NAMES, values, strict=True)]
        (root / "list_attr_celeba.txt").write_text("\n".join([str(len(NAMES)), " ".join(names) + " ", *rows, ""]))
        (root / "list_eval_partition.txt").write_text("".join(f"{n} {s}\n" for n, s in zip(NAMES, SPLITS, strict=True)))
    (root / "identity_CelebA.txt").write_text("".join(f"{n} {7 + k // 2}\n" for k, n in enumerate(NAMES)))
    return root


def test_text_and_csv_forms_of_celeba_say_the_same(tmp_path: Path) -> None:
    text, csv = open_attributes(celeba(tmp_path / "a")), open_attributes(celeba(tmp_path / "b", csv=True))
    for found in (text, csv):
        assert np.array_equal(found.labels.values, VALUES == 1)
        assert found.labels.known.all()
        assert found.splits.tolist() == SPLITS
        assert found.paths == NAMES
        assert found.identities is not None
        assert found.identities.tolist() == [7, 7, 8, 8, 9, 9]


def test_another_order_of_attributes_is_refused_by_name(tmp_path: Path) -> None:
    swapped = (CELEBA_NAMES[1], CELEBA_NAMES[0], *CELEBA_NAMES[2:])
    with pytest.raises(ValueError, match="attribute 1 must be 5_o_Clock_Shadow, got Arched_Eyebrows"):
        open_attributes(celeba(tmp_path / "a", names=swapped))


def test_other_values_a_missing_image_and_a_missing_partition_are_refused(tmp_path: Path) -> None:
    odd = VALUES.copy()
    odd[2, 3] = 2
    with pytest.raises(ValueError, match="Bags_Under_Eyes of image 2 is 2"):
        open_attributes(celeba(tmp_path / "a", values=odd))
    root = celeba(tmp_path / "b")
    (root / "img_align_celeba" / NAMES[4]).unlink()
    with pytest.raises(FileNotFoundError, match=r"000005\.jpg"):
        open_attributes(root)
    root = celeba(tmp_path / "c")
    (root / "list_eval_partition.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no list_eval_partition"):
        open_attributes(root)


def test_a_torn_line_is_named(tmp_path: Path) -> None:
    root = celeba(tmp_path / "a")
    path = root / "list_attr_celeba.txt"
    lines = path.read_text().splitlines()
    lines[4] = " ".join(lines[4].split()[:-1])
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="line 5 must be a name and 40 whole numbers"):
        open_attributes(root)


def lfwa(root: Path, version: str = "v7.3") -> Path:
    root.mkdir()
    paths = [f"Person_{k // 2}\\Person_{k // 2}_{k % 2 + 1:04d}.jpg" for k in range(6)]
    for path in paths:
        place = root / "lfw" / path.replace("\\", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    if version != "v7.3":
        (root / "lfw_att_40.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(100))
        (root / "indices_train_test.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(100))
        return root
    with h5py.File(root / "lfw_att_40.mat", "w") as file:
        for key, words in (("AttrName", CELEBA_NAMES), ("name", paths)):
            cells = [
                file.create_dataset(f"#refs#/{key}{n}", data=np.array([[ord(c)] for c in w], dtype=np.uint16)).ref
                for n, w in enumerate(words)
            ]
            file.create_dataset(key, data=np.array([cells], dtype=h5py.ref_dtype))
        file.create_dataset("label", data=(VALUES == 1).astype(np.float64).T)
    with h5py.File(root / "indices_train_test.mat", "w") as file:
        file.create_dataset("indices_img_train", data=np.array([[1.0, 2, 3, 4]]))
        file.create_dataset("indices_img_test", data=np.array([[5.0, 6]]))
    return root


def test_lfwa_is_read_transposed_from_one_and_with_its_slashes_turned(tmp_path: Path) -> None:
    found = open_attributes(lfwa(tmp_path / "a"), val_identity_share=0.5)
    assert np.array_equal(found.labels.values, VALUES == 1)
    assert found.paths[1] == "Person_0/Person_0_0002.jpg"
    assert found.identities is not None
    assert found.identities.tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(found.splits.tolist()) == [0, 0, 1, 1, 2, 2]
    assert found.splits[0] == found.splits[1]
    assert found.splits[4:].tolist() == [2, 2]


def test_a_mat_file_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MATLAB file of version 5"):
        open_attributes(lfwa(tmp_path / "a", "v5"))


def test_empty_cells_of_a_table_are_not_known(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_text("path,Hat,Beard,split\na.jpg,1,0,train\nb.jpg,,1,val\nc.jpg,0,0,test\n")
    found = open_attributes(tmp_path / "t.csv")
    assert found.labels.names == ("Hat", "Beard")
    assert found.labels.known.tolist() == [[True, True], [False, True], [True, True]]
    assert found.labels.values.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert found.splits.tolist() == [0, 1, 2]
    (tmp_path / "odd.csv").write_text("path,Hat\na.jpg,3\n")
    with pytest.raises(ValueError, match="Hat of row 1 is 3"):
        open_attributes(tmp_path / "odd.csv")


def test_a_zero_among_the_labels_of_celeba_is_one_label_that_is_not_known(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[3, 5] = 0
    found = open_attributes(celeba(tmp_path / "a", values=values))
    assert np.argwhere(~found.labels.known).tolist() == [[3, 5]]
    zero_one = np.where(VALUES == 1, 1, 0)
    zero_one[2, 1] = -1
    found = open_attributes(celeba(tmp_path / "b", values=zero_one))
    assert np.argwhere(~found.labels.known).tolist() == [[2, 1]]


def test_a_table_in_which_either_may_mean_unknown_is_refused(tmp_path: Path) -> None:
    rows = [f"{name},{','.join(map(str, row))},0" for name, row in zip(NAMES, VALUES, strict=True)]
    for name in NAMES:
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_text("\n".join([",".join(["path", *CELEBA_NAMES, "note"]), *rows, ""]))
    with pytest.raises(ValueError, match=r"0 occurs 6 times \(note the first\).*unknown=0 or unknown=-1"):
        open_attributes(tmp_path / "t.csv")
    assert open_attributes(tmp_path / "t.csv", labels=CELEBA_NAMES).labels.known.all()


@pytest.mark.parametrize("csv", [False, True])
def test_marks_of_byte_order_line_ends_and_quotes_change_nothing(tmp_path: Path, csv: bool) -> None:
    root = celeba(tmp_path / "a", csv=csv)
    for path in root.glob("*.*"):
        text = path.read_text()
        for name in NAMES if csv else []:
            text = text.replace(name, f'"{name}"')
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    found = open_attributes(root)
    assert found.paths == NAMES
    assert found.splits.tolist() == SPLITS
    assert np.array_equal(found.labels.values, VALUES == 1)


@pytest.mark.parametrize(
    "lists", [("list_attr_celeba",), ("list_eval_partition",), ("list_attr_celeba", "identity_CelebA")]
)
def test_an_image_named_again_counts_once_and_never_with_two_meanings(tmp_path: Path, lists: tuple[str, ...]) -> None:
    root = celeba(tmp_path / "a")
    for name in lists:
        path = root / f"{name}.txt"
        first = next(line for line in path.read_text().splitlines() if line.startswith(NAMES[0]))
        path.write_text(path.read_text() + first + "\n")
    assert open_attributes(root).paths == NAMES
    path = root / f"{lists[-1]}.txt"
    last = path.read_text().splitlines()[-1]
    path.write_text(path.read_text() + last[: last.rindex(" ")] + (" 2\n" if "attr" not in lists[-1] else " 0\n"))
    with pytest.raises(ValueError, match=rf"{NAMES[0]} twice, and says two things"):
        open_attributes(root)


def test_lists_that_hold_less_than_they_say_and_people_in_two_splits_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = celeba(tmp_path / "a")
    path = root / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("6", "60", 1))
    open_attributes(root)
    assert "says that it has 60 images, and names 6" in caplog.text
    assert "1 people of the training images are in val or test too, person 8 the first" in caplog.text


def test_images_of_nobody_named_are_people_of_their_own_and_columns_have_one_name(tmp_path: Path) -> None:
    for name in NAMES[:4]:
        (tmp_path / name).touch()
    lines = [f"{name},{who},1" for name, who in zip(NAMES, ["", "ann", "", "ann"], strict=False)]
    (tmp_path / "t.csv").write_text("\n".join(["path,identity,Smiling", *lines, ""]))
    people = open_attributes(tmp_path / "t.csv").identities
    assert people is not None
    assert len(set(people.tolist())) == 3
    (tmp_path / "twice.csv").write_text("\n".join(["path,Smiling,Smiling", *lines, ""]))
    with pytest.raises(ValueError, match="two columns 'Smiling'"):
        open_attributes(tmp_path / "twice.csv")
