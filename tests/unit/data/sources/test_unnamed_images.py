"""Images on disk that no list of a set names are counted, and told once."""

import csv
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.dense.opening import open_dense
from transface.data.sources.face_labels import open_label_files
from transface.data.sources.unnamed_images import unnamed_images
from transface.synthetic.world import dense_forms, label_forms


def write_table(root: Path, faces: Any) -> Path:
    """Write a list of classes beside its images, which it names in an odd way."""
    (root / "images").mkdir(parents=True)
    for number, jpeg in enumerate(faces.jpegs):
        (root / "images" / f"{number}.jpg").write_bytes(jpeg)
    rows = [[f"./images/{number}.jpg", number % 2, number % 2] for number in range(len(faces.jpegs))]
    with (root / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "expression", "Smiling"], *rows])
    return root / "list.csv"


LABELLED = [
    label_forms.write_utkface_lists,
    label_forms.write_morph2,
    label_forms.write_affectnet,
    label_forms.write_raf_db,
    label_forms.write_ferplus,
    write_table,
]
ATTRIBUTES = [label_forms.write_celeba, label_forms.write_label_pickle, write_table]
DENSE = [
    lambda root, shots: dense_forms.write_hrnet_lists(root, "300w", shots),
    lambda root, shots: dense_forms.write_hrnet_lists(root, "wflw", shots),
    dense_forms.write_pts_files,
    dense_forms.write_aflw,
    dense_forms.write_celebamask_hq,
    dense_forms.write_lfw_parts,
]
CASES = [
    *((open_label_files, write, "faces") for write in LABELLED),
    *((open_attributes, write, "faces") for write in ATTRIBUTES),
    *((open_dense, write, "shots") for write in DENSE),
]


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return {
        "faces": label_forms.known_faces(7, number=42),
        "shots": dense_forms.shots(3, image_size=48),
    }


@pytest.mark.parametrize(("read", "write", "what"), CASES)
def test_an_image_that_no_list_names_is_told_once_by_every_form_and_a_whole_set_tells_nothing(
    read: Callable[[Path], Any],
    write: Callable[[Path, Any], Any],
    what: str,
    made: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    whole = Path(write(tmp_path / "whole", made[what]) or tmp_path / "whole")
    read(whole)
    assert "named by no list" not in caplog.text
    more = Path(write(tmp_path / "more", made[what]) or tmp_path / "more")
    image = next(path for path in sorted((tmp_path / "more").rglob("*.jpg")))
    shutil.copy(image, image.with_name("stranger.jpg"))
    shutil.copy(image, image.with_name("stranger.txt"))
    shutil.copy(image, image.with_name(".hidden.jpg"))
    read(more)
    read(more)
    assert caplog.text.count("1 images in") == 1
    assert caplog.text.count("named by no list and are not used, such as") == 1
    assert "stranger.jpg" in caplog.text


def test_images_that_a_list_names_without_a_label_of_ours_are_no_strangers(
    tmp_path: Path, made: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Contempt is none of the seven expressions; a FER+ vote may have no majority; AffectNet has classes 8 to 10."""
    for form, write in (("affectnet_lists", label_forms.write_affectnet), ("ferplus_lists", label_forms.write_ferplus)):
        root = tmp_path / form
        write(root, made["faces"])
        path = root / "label" / "train.txt"
        lines = [f"{line.split()[0]} 7" if k == 0 else line for k, line in enumerate(path.read_text().splitlines())]
        path.write_text("\n".join(lines))
        assert len(open_label_files(root).paths) == 6
    votes = tmp_path / "votes" / "FER2013Train"
    votes.mkdir(parents=True)
    rows = []
    for number, counts in enumerate(("10,0,0,0,0,0,0,0,0,0", "0,10,0,0,0,0,0,0,0,0", "5,5,0,0,0,0,0,0,0,0")):
        (votes / f"fer{number}.png").write_bytes(b"")
        rows.append(f'fer{number}.png,"(0, 0, 48, 48)",{counts}')
    (votes / "label.csv").write_text("\n".join(rows))
    assert len(open_label_files(tmp_path / "votes").paths) == 2
    assert "named by no list" not in caplog.text


def test_only_folders_of_named_images_are_looked_into(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg", "4.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert unnamed_images(tmp_path, ["a/1.jpg", "gone/5.jpg"]) == ["a/2.jpg"]
    assert unnamed_images(tmp_path, ["4.jpg", str(tmp_path / "b" / "0.jpg")]) == [str(tmp_path / "b" / "3.jpg")]


def test_one_folder_written_in_two_ways_is_one_folder(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "list.txt"):
        (tmp_path / name).touch()
    assert unnamed_images(tmp_path, ["./a.jpg", "b.jpg"]) == ["c.jpg"]
