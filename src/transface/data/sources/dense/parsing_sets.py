"""Photographs with a region for every pixel: CelebAMask-HQ, LaPa, LFW's parts, and folders of images and masks.

Shapes: n images, H x W pixels.
"""

import logging
import os
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transface.data.crops.dense_set import DenseSet, shared_out
from transface.data.crops.geometry import LAPA_POINTS
from transface.data.labels.points import CELEBAMASK_REGIONS, LAPA_REGIONS, LFW_PARTS_REGIONS
from transface.data.lists.split_words import NUMBERED_SPLITS
from transface.images.files import IMAGE_SUFFIXES, list_lines
from transface.told_once import warn_once

logger = logging.getLogger(__name__)

IMAGES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
PARTITION_WORDS = ("train", "val", "test")
IMAGES_A_FOLDER = 2000
SHARES = (0.8, 0.1, 0.1)


def read_celebamask_hq(root: str | Path, *, seed: int = 0) -> DenseSet:
    """Return CelebAMask-HQ: CelebA-HQ-img/<id>.jpg and a PNG a part; split as CelebA is where its lists lie beside,
    else 80/10/10 by seed.

    Raises:
        FileNotFoundError: no images, or no folder of masks.
        ValueError: lists that do not name an image, or an image without any part.
    """
    root = Path(root)
    for folder in (IMAGES, MASKS):
        if not (root / folder).is_dir():
            raise FileNotFoundError(f"no {folder} in {root}: CelebAMask-HQ has {IMAGES} and {MASKS}")
    names = sorted(
        (path.name for path in _files_in(root / IMAGES, IMAGE_SUFFIXES) if path.stem.isdigit()),
        key=lambda name: int(Path(name).stem),
    )
    if not names:
        raise FileNotFoundError(f"{root / IMAGES} holds no image named by its number, such as 0.jpg")
    numbers = [int(Path(name).stem) for name in names]
    _refuse_unmasked(root / MASKS, numbers)
    splits = _celeba_splits(root, numbers)
    return DenseSet(
        root,
        [f"{IMAGES}/{name}" for name in names],
        shared_out(len(names), SHARES, seed=seed) if splits is None else splits,
        CELEBAMASK_REGIONS,
        np.full((len(names), 4), np.nan),
        mask=partial(_painted, root / MASKS, tuple(numbers)),
    )


def _files_in(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Return the files of a folder with one of some endings, sorted, without those that begin with a dot."""
    names = (path.name for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(folder / name for name in names if name.lower().endswith(endings))


def _refuse_unmasked(folder: Path, numbers: list[int]) -> None:
    """Raise ValueError for an image of which no part lies in the folders of masks: it would end a training later."""
    places = {number // IMAGES_A_FOLDER for number in numbers}
    ends = tuple(f"_{part}.png" for part in CELEBAMASK_REGIONS[1:])
    found = {
        int(entry.name[:5])
        for place in places
        if (folder / str(place)).is_dir()
        for entry in os.scandir(folder / str(place))
        if entry.name[:5].isdigit() and entry.name[5:] in ends
    }
    if missing := [number for number in numbers if number not in found]:
        more = f", nor of {len(missing) - 1} others" if len(missing) > 1 else ""
        raise ValueError(
            f"no part of image {missing[0]} in {folder / str(missing[0] // IMAGES_A_FOLDER)}{more}: expected"
            f" {missing[0]:05d}_skin.png and others"
        )


def _celeba_splits(root: Path, numbers: list[int]) -> NDArray[np.str_] | None:
    """Return the splits (n,) of CelebA's lists, None where they do not lie there."""
    mapping, partition = root / "CelebA-HQ-to-CelebA-mapping.txt", root / "list_eval_partition.txt"
    if not (mapping.is_file() and partition.is_file()):
        if mapping.is_file() or partition.is_file():
            lone = partition if mapping.is_file() else mapping
            warn_once(
                logger,
                "%s: no %s, so the split is one of ours and not CelebA's; with it test images are the published ones",
                root,
                lone.name,
            )
        return None
    files = {int(words[0]): words[2] for words in _rows(mapping, 3) if words[0].isdigit()}
    parts = {words[0]: words[1] for words in _rows(partition, 2)}
    found = []
    for number in numbers:
        part = parts.get(files.get(number, ""))
        if part not in NUMBERED_SPLITS:
            raise ValueError(
                f"{mapping} and {partition} must tell the split of image {number} of {root} as 0, 1 or 2: the one says"
                f" that it is {files.get(number, 'nothing')}, the other {part or 'nothing'} of it"
            )
        found.append(NUMBERED_SPLITS[part])
    return np.array(found, dtype="<U16")


def _rows(path: Path, count: int) -> list[list[str]]:
    """Return the first words of every line of a list.

    Raises:
        ValueError: naming the first line that has fewer.
    """
    rows = [(number, line.split()) for number, line in enumerate(list_lines(path), 1) if line.strip()]
    if odd := next((row for row in rows if len(row[1]) < count), None):
        raise ValueError(f"{path}: line {odd[0]} must hold {count} words, got {' '.join(odd[1])[:80]!r}")
    return [words[:count] for _, words in rows]


def _painted(folder: Path, numbers: tuple[int, ...], index: int) -> NDArray[np.uint8]:
    """Return the regions of one image: its parts painted one over the other, in the order of their numbers."""
    number = numbers[index]
    place = folder / str(number // IMAGES_A_FOLDER)
    found: NDArray[np.uint8] | None = None
    for value, part in enumerate(CELEBAMASK_REGIONS[1:], start=1):
        path = place / f"{number:05d}_{part}.png"
        if path.is_file():
            on = _pixels(path, mode="L") > 0
            found = np.zeros(on.shape, dtype=np.uint8) if found is None else found
            if on.shape != found.shape:
                raise ValueError(f"{path} is {on.shape}, other parts of the image are {found.shape}")
            found[on] = value
    if found is None:
        raise ValueError(f"no part of image {number} in {place}: expected {number:05d}_skin.png and others")
    return found


def read_lapa(root: str | Path) -> DenseSet:
    """Return LaPa: images/, labels/ and landmarks/ in train/, val/ and test/; crops are aligned by five of its 106
    points and bent outside.

    Raises:
        FileNotFoundError: no split, or an image without label or landmarks.
        ValueError: landmarks of another form.
    """
    root = Path(root)
    paths, splits, labels, anchors = [], [], [], []
    for split in PARTITION_WORDS:
        folder = root / split
        if not (folder / "images").is_dir():
            continue
        for image in _files_in(folder / "images", IMAGE_SUFFIXES):
            label, points = folder / "labels" / f"{image.stem}.png", folder / "landmarks" / f"{image.stem}.txt"
            for path in (label, points):
                if not path.is_file():
                    raise FileNotFoundError(f"no {path}: LaPa has a label and landmarks of every image")
            paths.append(str(image.relative_to(root)))
            splits.append(split)
            labels.append(str(label.relative_to(root)))
            anchors.append(lapa_points(points)[list(LAPA_POINTS)])
    if not paths:
        raise FileNotFoundError(f"no train/images, val/images or test/images in {root}: LaPa has them")
    return DenseSet(
        root,
        paths,
        np.array(splits, dtype="<U16"),
        LAPA_REGIONS,
        np.full((len(paths), 4), np.nan),
        anchors=np.array(anchors),
        warp=0.8,
        mask=partial(_label_image, root, tuple(labels), len(LAPA_REGIONS)),
    )


def lapa_points(path: Path) -> NDArray[np.float64]:
    """Return the points (106, 2) of one of LaPa's landmark files.

    Raises:
        ValueError: for another number of them.
    """
    words = " ".join(list_lines(path)).split()
    try:
        values = np.array([float(word) for word in words[1:]])
        if int(words[0]) != 106 or values.shape != (212,):
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError(f"{path} must hold 106 and 212 numbers, got {len(words)} words") from None
    return values.reshape(106, 2)


def read_lfw_parts(root: str | Path) -> DenseSet:
    """Return LFW's part labels: lfw_funneled/ (or images/), and a .ppm each in parts_lfw_funneled_gt_images/,
    red hair, green skin, blue background; the split of parts_{train,validation,test}.txt, else 80/10/10. What none of
    these lists names is left out.

    Raises:
        FileNotFoundError: no folder of parts.
        ValueError: a file whose name is not that of an image, or one that two lists name.
    """
    root = Path(root)
    folder = root / "parts_lfw_funneled_gt_images"
    if not folder.is_dir():
        raise FileNotFoundError(f"no parts_lfw_funneled_gt_images in {root}: LFW's parts have it beside lfw_funneled")
    masks = _files_in(folder, (".ppm", ".png"))
    for path in masks:
        person, _, number = path.stem.rpartition("_")
        if not person or not number.isdigit():
            raise ValueError(f"{path} must be named after an image of LFW, such as Aaron_Peirsol_0001.ppm")
    splits = _lfw_splits(root, [path.stem for path in masks])
    if len(left := np.flatnonzero(splits == "")):
        warn_once(
            logger,
            "%s: %d images are in none of the lists and are left out, %s the first",
            root,
            len(left),
            masks[left[0]].stem,
        )
    kept = np.flatnonzero(splits != "").tolist()
    images = next((root / name for name in ("lfw_funneled", "images") if (root / name).is_dir()), root)
    return DenseSet(
        images,
        [f"{masks[place].stem.rpartition('_')[0]}/{masks[place].stem}.jpg" for place in kept],
        splits[kept],
        LFW_PARTS_REGIONS,
        np.full((len(kept), 4), np.nan),
        mask=partial(_coloured_parts, root, tuple(str(masks[place].relative_to(root)) for place in kept)),
    )


def _lfw_splits(root: Path, stems: list[str]) -> NDArray[np.str_]:
    """Return the split (n,) of the lists, "" for an image of none of them; one of ours where there is no list."""
    files = {word: root / f"parts_{'validation' if word == 'val' else word}.txt" for word in PARTITION_WORDS}
    if not any(file.is_file() for file in files.values()):
        return shared_out(len(stems), SHARES)
    named: dict[tuple[str, int], str] = {}
    for word, file in files.items():
        for person, number in _rows(file, 2) if file.is_file() else []:
            if not number.isdigit():
                raise ValueError(f"{file} must hold a person and a number a line, got {person} {number}")
            if named.setdefault((person, int(number)), word) != word:
                other = files[named[person, int(number)]]
                raise ValueError(f"{person} {number} is in {other} and {file}: an image has one split")
    own = [(stem.rpartition("_")[0], int(stem.rpartition("_")[2])) for stem in stems]
    return np.array([named.get(image, "") for image in own], dtype="<U16")


def _coloured_parts(root: Path, masks: tuple[str, ...], index: int) -> NDArray[np.uint8]:
    colours = _pixels(root / masks[index], mode="RGB")
    strongest = colours.argmax(-1)
    return np.array([2, 1, 0], dtype=np.uint8)[strongest]  # red: hair, green: skin, blue: background


def _label_image(root: Path, labels: tuple[str, ...], num_regions: int, index: int) -> NDArray[np.uint8]:
    path = root / labels[index]
    found = _pixels(path)
    if found.ndim != 2 or found.max(initial=0) >= num_regions:
        raise ValueError(
            f"{path} must be grey with numbers 0..{num_regions - 1}, got {found.shape}, up to {found.max()}"
        )
    return found.astype(np.uint8)


def _pixels(path: Path, *, mode: str | None = None) -> NDArray[Any]:
    """Return the pixels of a mask in a mode of Pillow, by default its own: numbers of a palette stay numbers.

    Raises:
        ValueError: naming the file, if it is no whole image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image if mode is None else image.convert(mode))
    except (OSError, SyntaxError, ValueError, TypeError, struct.error, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"mask {path} cannot be read: {reason}") from None
