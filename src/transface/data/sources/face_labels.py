"""Photographs with expression, gender or age as they are published: UTKFace, FER+, FER2013, RAF-DB, AffectNet, folders
of classes, CSV lists.

Each reader gives the paths, the labels by name, the split that the set comes with, and the files it could not use, by
name.
Shapes: n images.
"""

import csv
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from transface.data.labels.ages import OLDEST, AgeLabels
from transface.data.labels.expressions import (
    AFFECTNET,
    ALIASES,
    FER2013,
    FERPLUS,
    GENDERS,
    RAF_DB,
    ClassLabels,
    expression_word,
)
from transface.data.labels.label import Labels
from transface.data.lists.repeated_names import first_of_each
from transface.data.lists.split_words import SPLIT_COLUMNS, split_of_word, splits_of_cells
from transface.data.sources.face_lists import SEVEN, ListForm, list_form_of, read_listed
from transface.data.sources.fer2013 import (
    LISTS,
    VOTES,
    PixelCells,
    PixelImages,
    pixel_list,
    read_pixel_rows,
    read_votes,
    votes_of,
)
from transface.data.sources.image_files import PATH_COLUMNS, WHOLE_NUMBER, ImageFiles, PathTable
from transface.data.sources.unnamed_images import tell_unnamed
from transface.images.files import (
    FOLDERS_LOOKED_INTO,
    below,
    files_below,
    folders_in,
    is_image_name,
    list_lines,
    require_images,
)
from transface.images.fit import Fit
from transface.told_once import warn_once

logger = logging.getLogger(__name__)

SetKind = Literal[
    "utkface",
    "classes",
    "csv",
    "fer2013",
    "ferplus",
    "raf_db",
    "affectnet",
    "morph2",
    "utkface_lists",
    "affectnet_lists",
    "raf_db_lists",
    "ferplus_lists",
]
PhotographLabels = ClassLabels | AgeLabels
# age_gender_race_date; three files of the aligned release lack the race.
UTKFACE_NAME = re.compile(r"(\d{1,3})_([01])_(?:([0-4])_)?(\d+)")
# What UTKFace's images lie in when not in one folder: its parts as they are published, and splits.
UTKFACE_FOLDER = re.compile(r"(crop_?)?part[_ -]?\d+|utkface.*|images?|data|faces?", re.IGNORECASE)


class LabelledFiles(NamedTuple):
    """What lies in a set.

    Attributes:
        root: the folder that paths are relative to.
        paths: of n images.
        labels: by name ("expression", "gender", "age"), n each.
        split: (n,) "train", "val", "test", or "" where the set does not say.
        rejected: files that were left out, each with the reason.
        unused: further paths that the set's lists name and that have no label here.
        cells: where the pixels of the n images lie in a list that holds them itself; None: images are files.
    """

    root: Path
    paths: list[str]
    labels: dict[str, PhotographLabels]
    split: NDArray[np.str_]
    rejected: list[str]
    unused: Sequence[str] = ()
    cells: PixelCells | None = None

    def images(self, *, image_size: tuple[int, int], fit: Fit) -> ImageFiles:
        """Return what reads the n images."""
        if self.cells is not None:
            return PixelImages(PathTable(self.paths), self.cells, image_size=image_size, fit=fit)
        return ImageFiles(self.root, PathTable(self.paths), image_size=image_size, fit=fit)

    def content(self, index: int) -> bytes:
        """Return what is known to be the same of copies of one image.

        Raises:
            OSError, ValueError: if it cannot be read.
        """
        return (self.root / self.paths[index]).read_bytes() if self.cells is None else self.cells.of(index)


def open_label_files(root: str | Path, kind: SetKind | None = None, *, output: str = "expression") -> LabelledFiles:
    """Return what lies at `root`, of the kind given or found by its look.

    Args:
        root: a folder, or a CSV list.
        kind: None: "csv" for a .csv; "fer2013" for one with pixels, or a folder with it; "utkface" for a folder of such
            names; "ferplus", "affectnet", "raf_db" where their lists lie; those of face_lists.py by theirs; else
            "classes". "ferplus" is also FER2013's list with FER+'s votes beside it.
        output: the name of the labels of a folder of classes.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no usable image, or a list that cannot be read.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"no data at {root}: give a folder of images or a .csv list")
    readers: dict[str, Callable[[], LabelledFiles]] = {
        "utkface": lambda: read_utkface(root),
        "classes": lambda: read_class_folders(root, output=output),
        "csv": lambda: read_csv(root),
        "fer2013": lambda: read_fer2013(root),
        "ferplus": lambda: read_ferplus(root),
        "raf_db": lambda: read_raf_db(root),
        "affectnet": lambda: read_affectnet(root),
        **{form: partial(read_lists, root, form) for form in get_args(ListForm)},
    }
    kind = kind or _kind_of(root)
    if kind not in readers:
        raise ValueError(f"data.kind must be one of {', '.join(readers)} or null, got {kind!r}")
    found = readers[kind]()
    if not found.paths:
        raise ValueError(
            f"{root} holds no image that can be used as {kind}" + (f": {found.rejected[0]}" if found.rejected else "")
        )
    if kind not in ("utkface", "classes") and found.cells is None:  # those have no list, or no files
        for path in found.paths:
            below(found.root, path, source=root)
        found = _once_each(found, root)
        tell_unnamed(root, found.root, [*found.paths, *found.unused])
    if found.rejected:
        first, what = "; ".join(found.rejected[:5]), "files" if found.cells is None else "rows"
        warn_once(logger, "%s: %d %s are left out: %s", root, len(found.rejected), what, first)
    tell_unknown(root, found.labels, found.split)
    return found


def tell_unknown(root: str | Path, columns: Mapping[str, Any], split: NDArray[np.str_]) -> None:
    """Warn of classes, and of whole columns of numbers, of which a split that has images has none that is known."""
    told = []
    for name, labels in columns.items():
        for part in ("train", "val", "test"):
            rows = np.flatnonzero(split == part)
            if not len(rows):
                continue
            if isinstance(labels, ClassLabels):
                there = set(labels.classes[rows].tolist())
                told += [f"{word} in {part}" for place, word in enumerate(labels.names) if place not in there]
            elif not np.isfinite(labels.take(rows.tolist())).any():
                told.append(f"a known {name} in {part}")
    if told:
        warn_once(logger, "%s: there are no images of %s", root, ", ".join(told))


def _once_each(found: LabelledFiles, root: Path) -> LabelledFiles:
    """Return what lists say without the lines that come again.

    Raises:
        ValueError: where lists say two things of one image, also two splits.
    """
    said = [labels.take(range(len(found.paths))) for labels in found.labels.values()]
    kept = first_of_each(found.paths, [*said, found.split], where=root)
    if len(kept) == len(found.paths):
        return found
    return found._replace(
        paths=[found.paths[place] for place in kept.tolist()],
        labels={name: labels.subset(kept) for name, labels in found.labels.items()},
        split=found.split[kept],
    )


def read_lists(root: Path, form: ListForm) -> LabelledFiles:
    """Return the images of a folder with the lists that Faceptor was trained from: ages, or seven expressions."""
    listed = read_listed(root, form)
    labels: dict[str, PhotographLabels]
    if form in ("morph2", "utkface_lists"):
        labels = {"age": AgeLabels(listed.values)}
    else:
        labels = {"expression": ClassLabels(listed.values.astype(np.int64), SEVEN)}
    return LabelledFiles(listed.folder, listed.paths, labels, listed.splits, [], listed.unused)


def read_utkface(root: Path) -> LabelledFiles:
    """Return the images of a folder named age_gender_race_date; names that do not say age and gender are rejected and
    listed. Folders train/, val/ and test/ are splits.
    """
    ages, genders, paths, splits, rejected = [], [], [], [], []
    names = sorted(_images_below(root))
    has_splits = any(map(_split_of_folders, names))
    for name in names:
        match = UTKFACE_NAME.match(name.rsplit("/", 1)[-1])
        own = _split_of_folders(name)
        if match is None:
            rejected.append(f"{name}: no name of the form age_gender_race_date")
        elif int(match[1]) > OLDEST:
            rejected.append(f"{name}: an age of {match[1]}")
        elif has_splits and not own:
            rejected.append(f"{name}: in no folder of a split, as others are")
        else:
            paths.append(name)
            splits.append(own)
            ages.append(float(match[1]))
            genders.append(int(match[2]))
    labels: dict[str, PhotographLabels] = {
        "gender": ClassLabels(np.array(genders, dtype=np.int64), GENDERS),
        "age": AgeLabels(ages),
    }
    return LabelledFiles(root, paths, labels, np.array(splits, dtype="<U5"), rejected)


def _split_of_folders(name: str) -> str:
    """Return the split that the innermost folder named after one says, "" where there is none."""
    found = [split for part in name.split("/")[:-1] if (split := split_of_word(part)) is not None]
    return found[-1] if found else ""


def read_class_folders(root: Path, *, output: str = "expression") -> LabelledFiles:
    """Return the images of folders named after classes, or of such folders in train/, val/ and test/ (FER2013, RAF-DB
    as folders).
    """
    splits = {path.name: own for path in folders_in(root) if (own := split_of_word(path.name)) is not None}
    paths, words, split, empty = [], [], [], []
    for above, own in (splits or {"": ""}).items():
        base = root / above if above else root
        for folder in folders_in(base):
            prefix = f"{above}/{folder.name}" if above else folder.name
            images = sorted(_images_below(folder))
            empty += [] if images else [prefix]
            for name in images:
                paths.append(f"{prefix}/{name}")
                words.append(folder.name)
                split.append(own)
    _refuse_lower_classes(root, paths, words)
    left = set(_images_below(root)) - set(paths)
    rejected = [f"{name}: in no folder of a {'split and a class' if splits else 'class'}" for name in sorted(left)]
    known = _named_classes(words, root)
    labels = ClassLabels(np.array([known.places[word] for word in words], dtype=np.int64), known.names)
    if empty:
        warn_once(logger, "%s: folders without an image are no class: %s", root, ", ".join(empty))
    return LabelledFiles(root, paths, {output: labels}, np.array(split, dtype="<U5"), rejected)


def _refuse_lower_classes(root: Path, paths: Sequence[str], words: Sequence[str]) -> None:
    """Raise ValueError where the folders are no expressions, and those in them are: a root one folder too high."""
    if any(_is_expression(word) for word in words):
        return
    for path, word in zip(paths, words, strict=True):
        inner = path.split(f"{word}/", 1)[1].split("/")[:-1]
        if inner and _is_expression(inner[0]):
            raise ValueError(
                f"{root}: {word} holds folders of expressions, {inner[0]} the first, and is no class itself: give"
                f" {root / path.split('/')[0]}, or call its folders train, val and test"
            )


def read_csv(path: Path) -> LabelledFiles:
    """Return the images of a list with a column of paths and any of expression, gender, age, label; a column `split` is
    heeded.

    Empty cells are unknown labels.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the .csv list itself")
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        columns = {(name or "").strip().lower(): name for name in rows.fieldnames or []}
        place = next((columns[name] for name in PATH_COLUMNS if name in columns), None)
        wanted = [name for name in ("expression", "gender", "age", "label") if name in columns]
        if place is None or not wanted:
            raise ValueError(
                f"{path}: its first line must name path and one of expression, gender, age, label; got"
                f" {', '.join(columns)}"
            )
        table = [row for row in rows if row.get(place)]
    if {"expression", "label"} <= set(wanted):
        raise ValueError(f"{path} has columns expression and label, which are two names of one: leave one out")
    require_images(path.parent, [row[place] for row in table], source=path, hint="paths are relative to it")
    labels: dict[str, PhotographLabels] = {}
    for name in wanted:
        cells = [(row.get(columns[name]) or "").strip() for row in table]
        labels["expression" if name == "label" else name] = (
            _ages(cells, path) if name == "age" else _classes(cells, name, path)
        )
    column = next((columns[name] for name in SPLIT_COLUMNS if name in columns), None)
    split = [""] * len(table)
    if column is not None:
        split = splits_of_cells([row.get(column) for row in table], column=column, where=path)
    return LabelledFiles(path.parent, [row[place] for row in table], labels, np.array(split, dtype="<U5"), [])


def read_fer2013(root: Path, *, with_votes: bool = False) -> LabelledFiles:
    """Return FER2013 as it is published: fer2013.csv or icml_face_data.csv, itself or its folder.

    Images are called as FER+ calls them: fer0000000.png is that of the first row.

    Args:
        with_votes: the expressions are those of FER+'s votes beside it, by the rule of the majority.

    Raises:
        FileNotFoundError: no such list, or no votes.
        ValueError: other columns; votes of other images.
    """
    path = pixel_list(root)
    if path is None:
        raise FileNotFoundError(
            f"no list of pixels at {root}: {' or '.join(LISTS)} with the columns emotion, pixels and Usage is expected"
        )
    found = read_pixel_rows(path)
    names = [f"fer{row:07d}.png" for row in found.rows.tolist()]
    split = [split_of_word(usage) or "" for usage in found.usages]
    rejected = list(found.rejected)
    words: tuple[str, ...] = FER2013
    classes, used = found.emotions, np.ones(len(names), dtype=bool)
    if with_votes:
        words = FERPLUS
        classes = np.array([vote.expression for vote in votes_of(found)], dtype=np.int64)
        used = classes >= 0
        logger.info("%s: %d images have no majority for an expression", root, int((~used).sum()))
    elif (path.parent / VOTES).is_file():
        said = "%s: the expressions are FER2013's own; kind=ferplus takes those of %s beside it"
        warn_once(logger, said, path, VOTES)
    if any(found.usages):
        rejected += [
            f"row {row + 1}: its usage is {usage!r}, Training, PublicTest or PrivateTest is expected"
            for row, usage, own in zip(found.rows.tolist(), found.usages, split, strict=True)
            if not own
        ]
        used &= np.array(split, dtype="<U5") != ""
    kept = np.flatnonzero(used)
    return LabelledFiles(
        path.parent,
        [names[place] for place in kept.tolist()],
        {"expression": ClassLabels(classes[kept], words)},
        np.array(split, dtype="<U5")[kept],
        rejected,
        [names[place] for place in np.flatnonzero(~used).tolist()],
        PixelCells(path, found.cells.starts[kept], found.cells.ends[kept]),
    )


def read_ferplus(root: Path) -> LabelledFiles:
    """Return FER+ by the rule of the majority: folders FER2013Train, FER2013Valid, FER2013Test with label.csv beside
    the images, or FER2013's list with fer2013new.csv beside it.

    What the rule leaves out is counted; an image that a list names and that is not there is listed.
    """
    if not _has_ferplus_folders(root) and pixel_list(root) is not None:
        return read_fer2013(root, with_votes=True)
    paths, classes, split, rejected, undecided = [], [], [], [], []
    for folder, own in (("FER2013Train", "train"), ("FER2013Valid", "val"), ("FER2013Test", "test")):
        for base in (root / folder, root / "data" / folder):
            if (base / "label.csv").is_file():
                for name, expression in read_ferplus_labels(base / "label.csv"):
                    if expression < 0:
                        undecided.append(str((base / name).relative_to(root)))
                    elif not (base / name).is_file():
                        rejected.append(f"{folder}/{name}: named by label.csv, and not there")
                    else:
                        paths.append(str((base / name).relative_to(root)))
                        classes.append(expression)
                        split.append(own)
    logger.info("%s: %d images have no majority for an expression", root, len(undecided))
    return LabelledFiles(
        root,
        paths,
        {"expression": ClassLabels(np.array(classes, dtype=np.int64), FERPLUS)},
        np.array(split, dtype="<U5"),
        rejected,
        undecided,
    )


def read_ferplus_labels(path: Path) -> list[tuple[str, int]]:
    """Return (image name, place in FERPLUS or -1) of every line of a label.csv or of fer2013new.csv; rows without an
    image are left out.

    Raises:
        ValueError: naming the first line that has no ten counts.
    """
    return [(vote.name, vote.expression) for vote in read_votes(path) if vote.name]


def _has_ferplus_folders(root: Path) -> bool:
    return any((base / "FER2013Train" / "label.csv").is_file() for base in (root, root / "data"))


def read_raf_db(root: Path) -> LabelledFiles:
    """Return RAF-DB's basic set: list_patition_label.txt (name, label 1 to 7) and Image/aligned/<name>_aligned.jpg
    beside it.
    """
    lists = sorted(root.rglob("list_patition_label.txt"))
    if not lists:
        raise FileNotFoundError(f"no list_patition_label.txt below {root}")
    known = {Path(name).name: name for name in _images_below(root)}
    paths, classes, split, rejected, unused = [], [], [], [], []
    aligned = any(name.endswith("_aligned.jpg") for name in known)  # never some aligned, others not
    for words in filter(None, map(str.split, list_lines(lists[0]))):
        name = known.get(f"{Path(words[0]).stem}_aligned.jpg" if aligned else words[0])
        own = words[0].split("_")[0]
        if name is None or len(words) != 2 or words[1] not in tuple("1234567") or own not in ("train", "test"):
            no = (
                "not there" if name is None else "no label 1 to 7" if own in ("train", "test") else "no train_ or test_"
            )
            rejected.append(f"{words[0]}: {no}")
            unused += [] if name is None else [name]
            continue
        paths.append(name)
        classes.append(int(words[1]) - 1)
        split.append(own)
    return LabelledFiles(
        root,
        paths,
        {"expression": ClassLabels(np.array(classes, dtype=np.int64), RAF_DB)},
        np.array(split, dtype="<U5"),
        rejected,
        unused,
    )


def read_affectnet(root: Path) -> LabelledFiles:
    """Return AffectNet's eight expressions: the tree of .npy files (train_set, val_set), or the CSV lists of the older
    release.

    Classes 8 to 10 (none, uncertain, not a face) are left out; the public validation set is "test", as the papers use
    it.
    """
    paths, classes, split, rejected, unused = [], [], [], [], []
    for folder, own in (("train_set", "train"), ("val_set", "test")):
        for file in sorted(
            (root / folder / "annotations").glob("[!.]*_exp.npy"), key=lambda path: (len(path.name), path.name)
        ):
            expression = _number_in(file)
            image = root / folder / "images" / f"{file.name.removesuffix('_exp.npy')}.jpg"
            if expression is None:
                rejected.append(f"{file.name}: holds no number")
                unused.append(str(image.relative_to(root)))
            elif not image.is_file():
                rejected.append(f"{image.name}: labelled, and not there")
            elif 0 <= expression < len(AFFECTNET):
                paths.append(str(image.relative_to(root)))
                classes.append(expression)
                split.append(own)
            else:
                unused.append(str(image.relative_to(root)))
    found = sorted(root.rglob("Manually_Annotated_Images"))
    base = found[0] if found else root
    for name, own in (("training.csv", "train"), ("validation.csv", "test")):
        for path in sorted(root.rglob(name)):
            for listed, expression in _affectnet_rows(path):
                if not (base / listed).is_file():
                    rejected.append(f"{listed}: labelled, and not there")
                elif 0 <= expression < len(AFFECTNET):
                    paths.append(listed)
                    classes.append(expression)
                    split.append(own)
                else:
                    unused.append(listed)
    labels: dict[str, PhotographLabels] = {"expression": ClassLabels(np.array(classes, dtype=np.int64), AFFECTNET)}
    return LabelledFiles(base, paths, labels, np.array(split, dtype="<U5"), rejected, unused)


def _number_in(path: Path) -> int | None:
    """Return the one number of a .npy file, None where it holds something else."""
    try:
        return int(np.load(path, allow_pickle=False).item())
    except (ValueError, EOFError, OSError, TypeError):
        return None


def _affectnet_rows(path: Path) -> Iterable[tuple[str, int]]:
    for row in csv.DictReader(list_lines(path)):
        try:
            yield row["subDirectory_filePath"], int(row["expression"])
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{path}: expected the columns subDirectory_filePath and expression, got {list(row)[:8]}"
            ) from None


def _kind_of(root: Path) -> SetKind:
    if root.is_file():
        return "csv" if pixel_list(root) is None else "fer2013"
    if (kind := _kind_by_lists(root)) is not None:
        return kind
    if list(root.glob("**/list_patition_label.txt")):
        return "raf_db"
    _refuse_without_lists(root)
    return "utkface" if _looks_like_utkface(root) else "classes"


def _kind_by_lists(root: Path) -> SetKind | None:
    """Return the kind of a folder by the lists at its top, None where it has none of them."""
    if (form := list_form_of(root)) is not None:
        return form
    if _has_ferplus_folders(root):
        return "ferplus"
    if pixel_list(root) is not None:
        return "fer2013"
    if (root / "train_set" / "annotations").is_dir() or list(root.glob("Manually_Annotated*")):
        return "affectnet"
    return "raf_db" if (root / "EmoLabel" / "list_patition_label.txt").is_file() else None


def _refuse_without_lists(root: Path) -> None:
    """Raise ValueError where the folder above or one in a root has the lists of a set: without them folders of its
    images would be classes, and its splits lost.
    """
    above = root.absolute().parent
    near = [above] if root.absolute().name in ("data", "Image") else []
    for folder in [*near, *folders_in(root)[:FOLDERS_LOOKED_INTO]]:
        if (kind := _kind_by_lists(folder)) is not None:
            raise ValueError(
                f"{root} has no lists, and {folder} has those of {kind}: give that folder, or kind=classes (or"
                " utkface) to take the images here without them"
            )


def _looks_like_utkface(root: Path) -> bool:
    """Return whether most images are named as UTKFace's and lie in no folders that may be classes."""
    names = _images_below(root)
    own = [name for name in names if UTKFACE_NAME.match(name.rsplit("/", 1)[-1])]
    if not own or 2 * len(own) <= len(names):
        return False
    folders = {part for name in own for part in name.split("/")[:-1]}
    others = sorted(part for part in folders if not split_of_word(part) and not UTKFACE_FOLDER.fullmatch(part))
    if others:
        warn_once(
            logger,
            "%s: images are named as UTKFace's, and their folders (%s) are taken as classes: kind=utkface reads the"
            " names",
            root,
            ", ".join(others[:3]),
        )
    return not others


def _images_below(root: Path) -> list[str]:
    return [name for name in files_below(root) if is_image_name(name)]


def _is_expression(word: str) -> bool:
    return word.strip().lower() in {*ALIASES, *FERPLUS}


def _said(word: str) -> str:
    return expression_word(word) if _is_expression(word) else word.strip()


class _Classes(NamedTuple):
    """The names of classes in their order, and the place among them that each word as it is written means."""

    names: list[str]
    places: dict[str, int]


def _named_classes(words: Iterable[str], where: Path) -> _Classes:
    """Return what words name as classes: FER+'s in FER+'s order where all are expressions, whole numbers by their size,
    else sorted. Words that differ by case alone, or by how letters are encoded, are one class; that is told once.

    Raises:
        ValueError: for fewer than two classes.
    """
    said = {word: _said(word) for word in sorted(set(words))}
    if said and all(WHOLE_NUMBER.fullmatch(name) for name in said.values()):
        said = {word: str(int(float(name))) for word, name in said.items()}
    first: dict[str, str] = {}
    meant = {word: first.setdefault(_folded(name), name) for word, name in said.items()}
    names = sorted(set(meant.values()))
    if len(names) < 2:
        raise ValueError(f"{where} must hold at least two classes, each a folder or a word of its list, got {names}")
    if merged := [f"{name} ({', '.join(own)})" for name in names if len(own := _words_of(name, meant, said)) > 1]:
        warn_once(logger, "%s: words that differ by their spelling alone are one class: %s", where, "; ".join(merged))
    if set(names) <= set(FERPLUS):
        names = [name for name in FERPLUS if name in names]
    elif all(WHOLE_NUMBER.fullmatch(name) for name in names):
        names = sorted(names, key=int)
    return _Classes(names, {word: names.index(name) for word, name in meant.items()})


def _words_of(name: str, meant: Mapping[str, str], said: Mapping[str, str]) -> list[str]:
    """Return the spellings of a class that differ by more than the words of expressions do."""
    return sorted({said[word] for word, own in meant.items() if own == name})


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _classes(cells: Sequence[str], name: str, path: Path) -> ClassLabels:
    if name == "gender":
        known = {"0": 0, "m": 0, "male": 0, "man": 0, "1": 1, "f": 1, "female": 1, "woman": 1, "": -1}
        odd = [cell for cell in cells if cell.lower() not in known]
        if odd:
            raise ValueError(f"{path}: gender is 0, 1, male or female, got {odd[0]!r}")
        return ClassLabels(np.array([known[cell.lower()] for cell in cells], dtype=np.int64), GENDERS)
    given = [cell for cell in cells if cell]
    if given and all(WHOLE_NUMBER.fullmatch(cell) for cell in given):
        numbers = [int(float(cell)) if cell else -1 for cell in cells]
        # Never words: 0 is neutral in some data sets, anger in others.
        return ClassLabels(np.array(numbers, dtype=np.int64), [str(k) for k in range(max(2, max(numbers) + 1))])
    named = _named_classes(given, path)
    places = [named.places[cell] if cell else -1 for cell in cells]
    return ClassLabels(np.array(places, dtype=np.int64), named.names)


def _ages(cells: Sequence[str], path: Path) -> AgeLabels:
    try:
        return AgeLabels([float(cell) if cell else float("nan") for cell in cells])
    except ValueError as error:
        raise ValueError(f"{path}: ages are numbers of years: {error}") from None


def chosen_labels(labels: Mapping[str, Labels], names: Sequence[str] | None) -> dict[str, Any]:
    """Return some of the labels, in the order given; None: all.

    Raises:
        ValueError: for a name the data does not have.
    """
    if missing := [name for name in names or () if name not in labels]:
        raise ValueError(f"the data has no {', '.join(missing)}: it has {', '.join(labels)}")
    return {name: labels[name] for name in names or labels}
