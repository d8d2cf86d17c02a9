"""Ages and expressions in the lists that Faceptor was trained from: MORPH II, UTKFace, AffectNet, RAF-DB, FER+, CelebA.

Each is a folder with data/ and label/ (or label.txt, label.pkl). Shapes: n images.
"""

import csv
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.data.labels.ages import OLDEST
from transface.images.files import list_lines, require_images
from transface.told_once import warn_once

logger = logging.getLogger(__name__)

ListForm = Literal["morph2", "utkface_lists", "affectnet_lists", "raf_db_lists", "ferplus_lists"]
SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
UTKFACE_SHIFT = 21  # CORAL's lists have ages counted from 21
RAF_DB_ORDER = {1: 3, 2: 4, 3: 5, 4: 1, 5: 2, 6: 6, 7: 0}
FERPLUS_ORDER = (0, 1, 3, 2, 6, 5, 4, 7)
CONTEMPT, NO_FACE = 7, 10  # 8 and 9 are AffectNet's "none" and "uncertain"
FER_NAME = re.compile(r"fer\d+\.", re.IGNORECASE)
TRUE_AGE = re.compile(r"(\d{1,3})_[01]_")  # of a name of UTKFace
NO_PLACE = -math.inf  # of an expression that is none of the seven


class ListedFaces(NamedTuple):
    """What lists say: paths below the folder, a number each (years, or a place in SEVEN), and splits; and further
    paths, whose expression is none of the seven.
    """

    folder: Path
    paths: list[str]
    values: NDArray[np.float64]
    splits: NDArray[np.str_]
    unused: list[str]


def list_form_of(root: Path) -> ListForm | None:
    """Return the form of a folder by its lists, None where it has none of them.

    Raises:
        ValueError: for lists in train, val and test that are not of FER+'s names: their expressions have some order.
    """
    marks: Mapping[ListForm, str] = {
        "morph2": "label/RANDOM_80_20",
        "utkface_lists": "label/train.csv",
        "ferplus_lists": "label/val.txt",
        "affectnet_lists": "label/train.txt",
        "raf_db_lists": "label.txt",
    }
    found = next((form for form, mark in marks.items() if (root / mark).exists()), None)
    if found == "ferplus_lists":
        first = next((line.split()[0] for line in list_lines(root / marks[found]) if line.strip()), "")
        if not FER_NAME.match(first.rsplit("/", 1)[-1]):
            raise ValueError(
                f"{root / marks[found]} names {first[:80]!r}, and FER+'s images are called fer0000000.png: say the"
                " order of its expressions by kind=affectnet_lists or kind=ferplus_lists"
            )
    return found


def read_listed(root: Path, form: ListForm) -> ListedFaces:
    """Return the images of a folder of a form, ages in true years.

    Raises:
        FileNotFoundError: if no list is there, or an image that is named is not.
        ValueError: naming a line of another form.
    """
    listed = list(_READERS[form](root))
    rows = [row for row in listed if row[1] != NO_PLACE]
    if not rows:
        raise FileNotFoundError(f"{root} holds no list of the form {form}: see docs/papers/faceptor.md")
    folder = folder_of(root)
    require_images(folder, [path for path, _, _ in rows], source=f"the lists in {root}")
    return ListedFaces(
        folder,
        [path for path, _, _ in rows],
        np.array([value for _, value, _ in rows]),
        np.array([split for _, _, split in rows], dtype="<U5"),
        [path for path, value, _ in listed if value == NO_PLACE],
    )


def folder_of(root: Path) -> Path:
    """Return the folder that the names in the lists are relative to."""
    return root / "data" if (root / "data").is_dir() else root


Row = tuple[str, float, str]


def _words(path: Path, split: str, most: float, what: str) -> Iterator[Row]:
    """Yield path, number and split of lines `relpath number [...]`.

    Raises:
        ValueError: naming a line of another form, or with a number that is not in 0..`most`.
    """
    if not path.is_file():
        return
    lines = [(number, line) for number, line in enumerate(list_lines(path), 1) if line.strip()]
    _tell_empty(path, lines)
    for number, line in lines:
        words = line.split()
        try:
            value = float(words[1])
        except (IndexError, ValueError):
            raise ValueError(f"{path}: line {number} must be a path and a number, got {line[:80]!r}") from None
        if not 0 <= value <= most:
            raise ValueError(f"{path}: line {number} must hold {what} 0..{most:g}, got {line[:80]!r}")
        yield words[0].replace("\\", "/"), value, split


def _tell_empty(path: Path, rows: Sequence[object]) -> None:
    if not rows:
        warn_once(logger, "%s names no image", path)


def _morph2(root: Path) -> Iterator[Row]:
    for split in ("train", "val", "test"):
        yield from _words(root / "label" / "RANDOM_80_20" / f"{split}.txt", split, OLDEST, "an age in")


def _utkface(root: Path) -> Iterator[Row]:
    """Yield the lines of CORAL's lists; a name of UTKFace begins with the true age, which tells whether they count from
    21 or from 0.
    """
    read = [(path, *row) for split in ("train", "val", "test") for path, row in _utkface_lines(root, split)]
    told = [(int(found[1]) - age) for _, _, name, age, _ in read if (found := TRUE_AGE.match(name.rsplit("/", 1)[-1]))]
    shift = 0 if told.count(0) > told.count(UTKFACE_SHIFT) else UTKFACE_SHIFT
    if not shift:
        warn_once(logger, "%s: its lists hold true years, as the names of the files say: nothing is added", root)
    for path, number, name, age, split in read:
        found = TRUE_AGE.match(name.rsplit("/", 1)[-1])
        if not 0 <= age + shift <= OLDEST or (found and int(found[1]) != age + shift):
            raise ValueError(
                f"{path}: line {number} must hold the age that its file's name says, less {shift}, got {name},{age}"
            )
        yield name, float(age + shift), split


def _utkface_lines(root: Path, split: str) -> Iterator[tuple[Path, tuple[int, str, int, str]]]:
    """Yield path of the list, and number, name, age as it stands and split of its lines."""
    path = root / "label" / f"{split}.csv"
    if not path.is_file():
        return
    rows = [(number, row) for number, row in enumerate(csv.reader(list_lines(path)), 1) if row]
    if rows and not rows[0][1][-1].strip().lstrip("-").isdigit():
        rows.pop(0)  # the head
    _tell_empty(path, rows)
    for number, row in rows:
        try:
            yield path, (number, row[1].replace("\\", "/"), int(row[2]), split)
        except (IndexError, ValueError):
            raise ValueError(
                f"{path}: line {number} must be number,file,age - {UTKFACE_SHIFT}, got {','.join(row)[:80]!r}"
            ) from None


def _affectnet(root: Path) -> Iterator[Row]:
    for split in ("train", "val", "test"):
        for path, value, own in _classes(root / "label" / f"{split}.txt", split, top=NO_FACE):
            yield path, value if value < CONTEMPT else NO_PLACE, own


def _ferplus(root: Path) -> Iterator[Row]:
    for split in ("train", "val", "test"):
        for path, value, own in _classes(root / "label" / f"{split}.txt", split, top=CONTEMPT):
            place = FERPLUS_ORDER[int(value)]
            yield path, float(place) if place < CONTEMPT else NO_PLACE, own


def _raf_db(root: Path) -> Iterator[Row]:
    folder = folder_of(root)
    for path, value, _ in _classes(root / "label.txt", "", top=7):
        split = path.split("_")[0]
        if value not in RAF_DB_ORDER or split not in ("train", "test"):
            raise ValueError(
                f"{root / 'label.txt'}: expected train_00001.jpg or test_0001.jpg and 1..7, got {path} {value:g}"
            )
        aligned = f"{path.removesuffix('.jpg')}_aligned.jpg"  # as the archive of aligned images has them
        there = (folder / aligned).is_file() and not (folder / path).is_file()
        yield aligned if there else path, float(RAF_DB_ORDER[int(value)]), split


def _classes(path: Path, split: str, *, top: int) -> Iterator[Row]:
    for name, value, own in _words(path, split, top, "an expression in"):
        if value != int(value):
            raise ValueError(f"{path}: expressions are 0..{top}, {name} has {value:g}")
        yield name, value, own


_READERS = {
    "morph2": _morph2,
    "utkface_lists": _utkface,
    "affectnet_lists": _affectnet,
    "raf_db_lists": _raf_db,
    "ferplus_lists": _ferplus,
}
