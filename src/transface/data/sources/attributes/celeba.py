"""CelebA and every folder in its form: attributes, splits and people in text lists (.txt) or in those of the Kaggle
copy (.csv).

CelebA: 202,599 images of 10,177 people, 178 x 218, 40 attributes, 162,770 / 19,867 / 19,962 in train, val and test.
Shapes: n images.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.lists.repeated_names import first_of_each
from transface.data.sources.attributes.attribute_set import AttributeSet, binary_labels
from transface.data.sources.attributes.text_lists import NumberedNames, head_lines, read_numbers
from transface.images.files import require_images
from transface.told_once import warn_once

logger = logging.getLogger(__name__)

NUM_IMAGES = 202_599
SPLIT_SIZES = (162_770, 19_867, 19_962)
IMAGE_FOLDERS = (
    "img_align_celeba",
    "img_align_celeba/img_align_celeba",
    "img_align_celeba_png",
    "images",
    "img_celeba",
    "Img/img_align_celeba",
    "Img/img_align_celeba_png",
    "Img/img_celeba",
    ".",
)
ATTRIBUTES, PARTITION, IDENTITIES = "list_attr_celeba", "list_eval_partition", "identity_CelebA"
FOLDERS = ("", "Anno", "Eval", "anno")  # the official archive has its lists in two folders, its images in a third


def is_celeba(root: Path) -> bool:
    """Return whether a folder has CelebA's list of attributes."""
    return _list(root, ATTRIBUTES) is not None


def read_celeba(root: str | Path) -> AttributeSet:
    """Return the images of a folder in CelebA's form, in the order of its list of attributes.

    Raises:
        FileNotFoundError: a list is missing, or an image that it names.
        ValueError: the attributes are not CelebA's forty in their order, a value is not -1, 0 or 1, lists name other
            images.
    """
    root = Path(root)
    path = _require(root, ATTRIBUTES)
    skip = _check_names(path)
    rows = read_numbers(path, columns=len(CELEBA_NAMES), skip_lines=skip)
    if not rows.names:
        raise ValueError(f"{path} names no images")
    if path.suffix == ".txt" and (count := int(head_lines(path, 1)[0])) != len(rows.names):
        warn_once(logger, "%s says that it has %d images, and names %d: is it whole?", path, count, len(rows.names))
    rows = _once_each(rows, path)
    labels = binary_labels(rows.numbers, CELEBA_NAMES, where=path, rarer=True)
    splits = _splits(_require(root, PARTITION), rows.names)
    _check_counts(root, splits)
    return AttributeSet(_images_of(root, rows.names), rows.names, labels, splits, _identities(root, rows.names))


def _list(root: Path, stem: str) -> Path | None:
    places = (root / folder / f"{stem}{ending}" for folder in FOLDERS for ending in (".txt", ".csv"))
    return next((place for place in places if place.is_file()), None)


def _require(root: Path, stem: str) -> Path:
    found = _list(root, stem)
    if found is None:
        raise FileNotFoundError(
            f"no {stem}.txt or {stem}.csv in {root}: CelebA's form has it beside the list of attributes"
        )
    return found


def _check_names(path: Path) -> int:
    """Raise ValueError unless the attributes are CelebA's, in their order; return the lines of head."""
    if path.suffix == ".csv":
        names, skip = head_lines(path, 1)[0].replace('"', "").split(",")[1:], 1
    else:
        count, line = head_lines(path, 2)
        if not count.isdigit():
            raise ValueError(f"{path}: its first line must be the number of images, got {count[:60]!r}")
        names, skip = line.split(), 2
    names = [name.strip() for name in names]
    if names == list(CELEBA_NAMES):
        return skip
    if len(names) != len(CELEBA_NAMES):
        raise ValueError(
            f"{path} must name CelebA's {len(CELEBA_NAMES)} attributes, got {len(names)}: give other labels as a .csv"
            " or .parquet table"
        )
    place = next(place for place, pair in enumerate(zip(names, CELEBA_NAMES, strict=True)) if pair[0] != pair[1])
    raise ValueError(
        f"{path}: attributes must stand in CelebA's order; attribute {place + 1} must be {CELEBA_NAMES[place]}, got"
        f" {names[place]}"
    )


def _splits(path: Path, names: Sequence[str]) -> NDArray[np.int8]:
    numbers = _in_order_of(names, read_numbers(path, columns=1, skip_lines=_has_head(path)), path)
    if (wrong := np.flatnonzero((numbers < 0) | (numbers > 2))).size:
        raise ValueError(
            f"{path}: a partition is 0 (train), 1 (val) or 2 (test), {names[int(wrong[0])]} has"
            f" {numbers[int(wrong[0])]}"
        )
    return numbers.astype(np.int8)


def _has_head(path: Path) -> int:
    """Return 1 where the first line is a head, as in the .csv form."""
    words = head_lines(path, 1)[0].replace(",", " ").split()
    return int(len(words) > 1 and not words[1].lstrip("-").isdigit())


def _identities(root: Path, names: Sequence[str]) -> NDArray[np.int64] | None:
    path = _list(root, IDENTITIES)
    if path is None:
        logger.info("%s has no %s: every image counts as a person of its own", root, IDENTITIES)
        return None
    return _in_order_of(names, read_numbers(path, columns=1, skip_lines=_has_head(path)), path)


def _once_each(rows: NumberedNames, path: Path) -> NumberedNames:
    if len(set(rows.names)) == len(rows.names):
        return rows
    kept = first_of_each(rows.names, [rows.numbers], where=path)
    return NumberedNames([rows.names[place] for place in kept.tolist()], rows.numbers[kept])


def _in_order_of(names: Sequence[str], rows: NumberedNames, path: Path) -> NDArray[np.int64]:
    """Return the numbers of a list (n,) in the order of `names`."""
    if rows.names == list(names):
        return rows.numbers[:, 0]
    rows = _once_each(rows, path)
    number = dict(zip(rows.names, rows.numbers[:, 0].tolist(), strict=True))
    if missing := [name for name in names if name not in number]:
        raise ValueError(
            f"{path} does not name {missing[0]}" + (f" and {len(missing) - 1} other images" if len(missing) > 1 else "")
        )
    return np.array([number[name] for name in names], dtype=np.int64)


def _check_counts(root: Path, splits: NDArray[np.int8]) -> None:
    sizes = tuple(int((splits == number).sum()) for number in range(3))
    if len(splits) != NUM_IMAGES:
        logger.info(
            "%s: %d / %d / %d images in train, val and test; all of CelebA are %d / %d / %d", root, *sizes, *SPLIT_SIZES
        )
    elif sizes != SPLIT_SIZES:
        raise ValueError(
            f"{root} has CelebA's {NUM_IMAGES} images, but {sizes} in train, val and test: the official sizes are"
            f" {SPLIT_SIZES}"
        )


def _images_of(root: Path, names: Sequence[str]) -> Path:
    """Return the folder that has the images; each must be there."""
    folders = [root / name for name in IMAGE_FOLDERS if (root / name).is_dir()]
    present = [(folder, {entry.name for entry in os.scandir(folder)}) for folder in folders]
    best, found = max(present, key=lambda pair: sum(name in pair[1] for name in names[:100]))
    unseen = (name for name in names if name not in found)
    hint = "fetch the images, or take their lines out of the lists"
    require_images(best, unseen, source=f"{root}'s list", hint=hint)
    return best
