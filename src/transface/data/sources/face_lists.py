"""Ages and expressions in the lists that Faceptor was trained from: MORPH II, UTKFace, AffectNet, RAF-DB, FER+, CelebA.

Each is a folder with data/ and label/ (or label.txt, label.pkl). Shapes: n images.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

ListForm = Literal["morph2", "utkface_lists", "affectnet_lists", "raf_db_lists", "ferplus_lists"]
SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
UTKFACE_SHIFT = 21  # CORAL's lists have ages counted from 21
RAF_DB_ORDER = {1: 3, 2: 4, 3: 5, 4: 1, 5: 2, 6: 6, 7: 0}
FERPLUS_ORDER = (0, 1, 3, 2, 6, 5, 4, 7)
CONTEMPT = 7
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
    """Return the form of a folder by its lists, None where it has none of them."""
    marks: Mapping[ListForm, str] = {
        "morph2": "label/RANDOM_80_20",
        "utkface_lists": "label/train.csv",
        "ferplus_lists": "label/val.txt",
        "affectnet_lists": "label/train.txt",
        "raf_db_lists": "label.txt",
    }
    return next((form for form, mark in marks.items() if (root / mark).exists()), None)


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
    folder = root / "data"
    folder = folder if folder.is_dir() else root
    if missing := [path for path, _, _ in rows if not (folder / path).is_file()]:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0]}{more} of the lists in {root} are not in {folder}")
    return ListedFaces(
        folder,
        [path for path, _, _ in rows],
        np.array([value for _, value, _ in rows]),
        np.array([split for _, _, split in rows], dtype="<U5"),
        [path for path, value, _ in listed if value == NO_PLACE],
    )


Row = tuple[str, float, str]


def _words(path: Path, split: str) -> Iterator[Row]:
    """Yield path, number and split of lines `relpath number [...]`."""
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            yield words[0], float(words[1]), split
        except (IndexError, ValueError):
            raise ValueError(f"{path}: line {number} must be a path and a number, got {line[:80]!r}") from None


def _morph2(root: Path) -> Iterator[Row]:
    for split in ("train", "test"):
        yield from _words(root / "label" / "RANDOM_80_20" / f"{split}.txt", split)


def _utkface(root: Path) -> Iterator[Row]:
    for split in ("train", "val", "test"):
        path = root / "label" / f"{split}.csv"
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", newline="") as stream:
            for number, row in enumerate(csv.reader(stream), 1):
                if number == 1 or not row:
                    continue
                try:
                    yield row[1], float(int(row[2]) + UTKFACE_SHIFT), split
                except (IndexError, ValueError):
                    raise ValueError(
                        f"{path}: line {number} must be number,file,age - {UTKFACE_SHIFT}, got {','.join(row)[:80]!r}"
                    ) from None


def _affectnet(root: Path) -> Iterator[Row]:
    for split in ("train", "test"):
        rows = _words(root / "label" / f"{split}.txt", split)
        for path, value, own in _of_seven(rows, root / "label" / f"{split}.txt", top=CONTEMPT):
            yield path, value if value < CONTEMPT else NO_PLACE, own


def _ferplus(root: Path) -> Iterator[Row]:
    for split in ("train", "val", "test"):
        for path, value, own in _of_seven(
            _words(root / "label" / f"{split}.txt", split), root / "label" / f"{split}.txt", top=CONTEMPT
        ):
            place = FERPLUS_ORDER[int(value)]
            yield path, float(place) if place < CONTEMPT else NO_PLACE, own


def _raf_db(root: Path) -> Iterator[Row]:
    for path, value, _ in _words(root / "label.txt", ""):
        split = path.split("_")[0]
        if value not in RAF_DB_ORDER or split not in ("train", "test"):
            raise ValueError(
                f"{root / 'label.txt'}: expected train_00001.jpg or test_0001.jpg and 1..7, got {path} {value:g}"
            )
        yield path, float(RAF_DB_ORDER[int(value)]), split


def _of_seven(rows: Iterator[Row], where: Path, *, top: int) -> Iterator[Row]:
    for path, value, split in rows:
        if value != int(value) or not 0 <= value <= top:
            raise ValueError(f"{where}: expressions are 0..{top}, {path} has {value:g}")
        yield path, value, split


_READERS = {
    "morph2": _morph2,
    "utkface_lists": _utkface,
    "affectnet_lists": _affectnet,
    "raf_db_lists": _raf_db,
    "ferplus_lists": _ferplus,
}
