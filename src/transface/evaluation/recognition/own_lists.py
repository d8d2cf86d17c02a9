"""What a user's own benchmark lists: a folder of people, or a CSV of pairs or of templates, with where the images are
read from.

Shapes: M images, P pairs, T templates.
"""

import csv
import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from transface.data.benchmarks.pairs_txt import read_pairs_txt, tell_same_images
from transface.data.lists.alike_names import tell_alike
from transface.data.lists.folder_people import refuse_splits
from transface.evaluation.recognition.all_pairs import require_both_kinds
from transface.evaluation.recognition.pair_results import require_both_classes
from transface.images.aligned_sources import AlignedFaces
from transface.images.alignment_check import check_listed_points
from transface.images.detection import Policy
from transface.images.detectors.locating import Missing, found_points
from transface.images.files import below, list_images, log_unread
from transface.images.fit import Fit
from transface.images.sources import FaceFiles, FaceSource, header_sizes
from transface.told_once import warn_once

log = logging.getLogger(__name__)

POINT_COLUMNS = tuple(f"{axis}{number}" for number in range(1, 6) for axis in "xy")


class Finding(NamedTuple):
    """How faces are found in photographs.

    Attributes:
        detector: "mtcnn", "yunet:FILE.onnx", "scrfd:FILE.onnx"; None: the images are faces already.
        faces: which of a photograph's faces is taken.
        missing: "refuse" photographs without a face, or take their "center".
    """

    detector: str | None = None
    faces: Policy = "largest"
    missing: Missing = "refuse"


NO_DETECTOR = Finding()


class ListedImages(NamedTuple):
    """Images by name, the person (M,) on each, and where they are read from."""

    names: list[str]
    people: NDArray[np.str_]
    source: FaceSource


class ListedPairs(NamedTuple):
    """Pairs (P, 2) of the named images, whether they are one person (P,), and who they are (P, 2) where the list says
    so.
    """

    indices: NDArray[np.int64]
    is_same: NDArray[np.bool_]
    subjects: NDArray[np.int32] | None
    names: list[str]
    source: FaceSource


class ListedTemplates(NamedTuple):
    """Images by name, the number (M,) of the template each is in; of each template its first image (T,) and its person
    (T,).
    """

    names: list[str]
    numbers: NDArray[np.int64]
    first: NDArray[np.int64]
    people: NDArray[np.str_]
    source: FaceSource


def list_people(
    root: Path,
    *,
    name: str,
    fit: Fit,
    finding: Finding = NO_DETECTOR,
    images_per_person: int | None = None,
    seed: int = 0,
) -> ListedImages:
    """Return the images of a folder that holds one folder a person, of each at most so many, drawn.

    Raises:
        FileNotFoundError: if the folder is missing or holds no images.
        ValueError: if an image lies beside the people's folders, these are parts of a data set (train, val), or there
            are no genuine or no impostor pairs.
    """
    listed = list_images(root)
    log_unread(root, listed.unread)
    paths = listed.paths
    loose = [path for path in paths if path.parent == root]
    if loose:
        raise ValueError(f"{loose[0]} belongs to nobody: {root} should hold a folder for each person, images inside")
    people = np.array([path.relative_to(root).parts[0] for path in paths])
    refuse_splits(root, np.unique(people).tolist())
    tell_alike(people, "people", source=root)
    if images_per_person is not None:
        order = np.random.default_rng([seed, 0x1F]).permutation(len(paths))
        rank = np.empty(len(paths), np.int64)
        by_person = order[np.argsort(people[order], kind="stable")]
        starts = np.searchsorted(people[by_person], people[by_person])
        rank[by_person] = np.arange(len(paths)) - starts
        kept = np.flatnonzero(rank < images_per_person)
        paths, people = [paths[place] for place in kept.tolist()], people[kept]
    require_both_kinds(people)
    return ListedImages(
        [str(path.relative_to(root)) for path in paths],
        people,
        _source(name, paths, root=root, fit=fit, finding=finding),
    )


def list_csv(
    file: Path, *, root: Path, name: str, fit: Fit, finding: Finding = NO_DETECTOR
) -> ListedPairs | ListedTemplates:
    """Return the pairs or templates of a CSV (see PairsCsv), whose images lie below `root`.

    Raises:
        FileNotFoundError: if the CSV or an image is missing.
        ValueError: if columns or values are not as said, or all pairs are of one class.
    """
    if file.suffix == ".txt":
        return _listed_pairs_txt(file, root=root, name=name, fit=fit, finding=finding)
    table = read_table(file)
    if {"image1", "image2", "is_same"} <= table.columns:
        return _listed_pairs(table, file, root=root, name=name, fit=fit, finding=finding)
    if {"image", "subject"} <= table.columns:
        return _listed_templates(table, file, root=root, name=name, fit=fit, finding=finding)
    raise ValueError(
        f"{file} must have the columns image1, image2, is_same, or image, subject (template); it has"
        f" {', '.join(sorted(table.columns))}"
    )


class Table(NamedTuple):
    """A CSV file: `columns`, and its rows by column name."""

    columns: set[str]
    rows: list[dict[str, str]]

    def column(self, name: str) -> list[str]:
        return [row[name] for row in self.rows]


def read_table(path: Path) -> Table:
    """Return a CSV file with a header.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no text, has no rows, or a row lacks values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
            columns = [name.strip() for name in reader.fieldnames or []]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no CSV file in UTF-8 ({error.reason} at byte {error.start}): save it so"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV file: {error}") from error
    for mark, what in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and mark in columns[0]:
            raise ValueError(f"{path} has {what} between its columns, {columns[0]!r}: save it with commas")
    if again := [name for name in dict.fromkeys(columns) if name and columns.count(name) > 1]:
        raise ValueError(f"{path} has {columns.count(again[0])} columns {again[0]}: which is meant, nothing tells")
    for number, row in enumerate(rows, start=2):
        if None in row.values() or None in row:
            raise ValueError(f"{path}, line {number}: as many values as the header has columns are wanted")
    if not rows:
        raise ValueError(f"{path} has no rows below its header")
    # A column without a name is no column of ours: tables are often written with the number of each row in front.
    named = [{key.strip(): value for key, value in row.items() if key.strip()} for row in rows]
    return Table(set(named[0]), named)


def labels_by_name(path: Path, key: str, label: str) -> dict[str, str]:
    """Return a column of a CSV by another: whose picture, or of which group somebody is. Blanks around a label go.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for missing columns, or a name with two labels. Names without a label are left out.
    """
    table = read_table(path)
    if not {key, label} <= table.columns:
        raise ValueError(f"{path} must have the columns {key} and {label}, it has {', '.join(sorted(table.columns))}")
    found: dict[str, str] = {}
    for number, row in enumerate(table.rows, start=2):
        name, value = row[key], row[label].strip()
        for form in ("NFC", "NFD") if value else ():  # systems write é as one sign or as two
            written = unicodedata.normalize(form, name)
            if found.setdefault(written, value) != value:
                before = found[written]
                raise ValueError(f"{path}, line {number}: the {label} of {name} is {value!r}, and {before!r} before")
        if value:
            found[name] = value
    tell_alike(found.values(), f"values of {label}", source=path)
    return found


def labels_of(table: Table, column: str, path: Path) -> list[str]:
    """Return a column of labels (people, templates, groups) without the blanks around them, of which " Anna" and "Anna"
    would be two.

    Raises:
        ValueError: naming the first line that has none: all such would be one.
    """
    values = [value.strip() for value in table.column(column)]
    if "" in values:
        raise ValueError(
            f"{path}, line {values.index('') + 2}: the {column} is missing ({values.count('')} such lines)"
        )
    tell_alike(values, f"values of {column}", source=path)
    return values


def _listed_pairs(
    table: Table, file: Path, *, root: Path, name: str, fit: Fit, finding: Finding = NO_DETECTOR
) -> ListedPairs:
    is_same = np.array([_flag(value, file, row) for row, value in enumerate(table.column("is_same"), start=2)])
    require_both_classes(is_same, f"the pairs of {file}")
    subjects = None
    if {"subject1", "subject2"} <= table.columns:
        people = np.array([labels_of(table, "subject1", file), labels_of(table, "subject2", file)]).T
        subjects = np.unique(people, return_inverse=True)[1].reshape(-1, 2).astype(np.int32)
        _require_agreement(subjects, is_same, file)
    sides = np.array([table.column("image1"), table.column("image2")]).T
    tell_same_images(sides.tolist(), file)
    _require_one_answer(sides, is_same, file)
    names, indices = np.unique(sides, return_inverse=True)
    source = _source(name, [root / image for image in names], root=root, fit=fit, finding=finding)
    return ListedPairs(indices.reshape(-1, 2), is_same, subjects, names.tolist(), source)


def _listed_templates(
    table: Table, file: Path, *, root: Path, name: str, fit: Fit, finding: Finding = NO_DETECTOR
) -> ListedTemplates:
    images, subjects = table.column("image"), np.array(labels_of(table, "subject", file))
    labels = np.array(labels_of(table, "template", file) if "template" in table.columns else images)
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    mixed = np.flatnonzero(subjects != subjects[first][numbers])
    if len(mixed):
        what = (
            f"template {labels[mixed[0]]} has" if "template" in table.columns else f"{labels[mixed[0]]} is listed with"
        )
        others = f"{subjects[first][numbers][mixed[0]]} and {subjects[mixed[0]]}"
        raise ValueError(f"{file}, line {mixed[0] + 2}: {what} images of two subjects, {others}")
    require_both_kinds(subjects[first])
    landmarks = None
    absent = [column for column in POINT_COLUMNS if column not in table.columns]
    if 0 < len(absent) < len(POINT_COLUMNS):
        raise ValueError(f"{file} has points, and no column {absent[0]}: five points are x1, y1 .. x5, y5")
    if not absent:
        if finding.detector is not None:
            raise ValueError(f"{file} has points, x1 .. y5, and protocol.detector= finds others: leave one out")
        landmarks = _numbers(table, POINT_COLUMNS, file).reshape(-1, 5, 2)
    paths = [root / image for image in images]
    source = _source(name, paths, root=root, fit=fit, finding=finding, landmarks=landmarks)
    return ListedTemplates(images, numbers, first, subjects[first], source)


def _listed_pairs_txt(file: Path, *, root: Path, name: str, fit: Fit, finding: Finding = NO_DETECTOR) -> ListedPairs:
    """Return the pairs of a pairs.txt: `name i j` of one person, `name1 i name2 j` of two; image 3 of Anna_Lee is
    <root>/Anna_Lee/Anna_Lee_0003 of any ending.
    """
    sides, is_same = read_pairs_txt(file, root)
    require_both_classes(is_same, f"the pairs of {file}")
    names, indices = np.unique(np.array(sides), return_inverse=True)
    people = np.array([[Path(side).parts[0] for side in pair] for pair in sides])
    subjects = np.unique(people, return_inverse=True)[1].reshape(-1, 2).astype(np.int32)
    source = _source(name, [root / image for image in names], root=root, fit=fit, finding=finding)
    return ListedPairs(indices.reshape(-1, 2), is_same, subjects, names.tolist(), source)


def _source(
    name: str,
    paths: Sequence[Path],
    *,
    root: Path,
    fit: Fit,
    finding: Finding,
    landmarks: NDArray[np.float32] | None = None,
) -> FaceSource:
    for path in paths:
        below(root, str(path.relative_to(root) if path.is_relative_to(root) else path), source=name)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} images are missing, the first is {missing[0]}: paths are looked for in"
            f" {root}; protocol.root=FOLDER names another"
        )
    if landmarks is not None:
        if fit != "refuse":
            warn_once(log, "%s: faces are cut out by their points, fit=%s is of no effect", name, fit)
        sizes = torch.from_numpy(header_sizes(paths))
        check_listed_points(torch.from_numpy(landmarks), [str(path) for path in paths], source=name, sizes=sizes)
        return AlignedFaces(name, paths, landmarks)
    if finding.detector is not None:
        return AlignedFaces(
            name, paths, found_points(paths, finding.detector, take=finding.faces, missing=finding.missing)
        )
    return FaceFiles(name, paths, fit=fit)


def _flag(value: str, path: Path, row: int) -> bool:
    words = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}
    if value.strip().lower() not in words:
        raise ValueError(f"{path}, line {row}: is_same must be 0 or 1, got {value!r}")
    return words[value.strip().lower()]


def _numbers(table: Table, columns: Sequence[str], path: Path) -> NDArray[np.float32]:
    found = []
    for number, row in enumerate(table.rows, start=2):
        try:
            values = [float(row[column]) for column in columns]
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: points must be numbers: {error}") from error
        if not np.isfinite(values).all():
            raise ValueError(f"{path}, line {number}: points must be finite numbers, got {values}")
        found.append(values)
    return np.array(found, np.float32)


def _require_one_answer(sides: NDArray[np.str_], is_same: NDArray[np.bool_], path: Path) -> None:
    """Raise ValueError for a pair that is listed again, in either order, with the other answer."""
    first: dict[tuple[str, ...], int] = {}
    for place, pair in enumerate(sides.tolist()):
        before = first.setdefault(tuple(sorted(pair)), place)
        if is_same[before] != is_same[place]:
            raise ValueError(
                f"{path}, line {place + 2}: {pair[0]} and {pair[1]} are {'' if is_same[place] else 'not '}one person"
                f" here, and line {before + 2} says otherwise"
            )


def _require_agreement(subjects: NDArray[np.int32], is_same: NDArray[np.bool_], path: Path) -> None:
    differs = (subjects[:, 0] == subjects[:, 1]) != is_same
    if differs.any():
        raise ValueError(
            f"{path}, line {int(np.argmax(differs)) + 2}: is_same and the two subjects contradict each other"
        )
