"""Reads the template protocols of IJB-B and IJB-C: images, templates, media, landmarks, pairs, and the 1:N subject
lists.

Layout of `root`: `meta/<name>_face_tid_mid.txt` (image template media), `meta/<name>_template_pair_label.txt` (template
template label), `meta/<name>_name_5pts_score.txt` (image, five x y, detector score), `loose_crop/<image>`; <name> is
ijbb or ijbc. Without a meta folder the text files are looked for in `root` itself. 15.7 million pairs take about a
second.
Shapes: M images, P pairs of templates.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray
from pyarrow import csv

LONGEST_LINE = 1 << 16


@dataclass(frozen=True)
class TemplateSet:
    """The 1:1 protocol of an IJB set.

    Attributes:
        name: "ijbb", "ijbc", ...
        image_folder: where the images lie.
        images: M file names.
        template_ids: (M,) int64, the template each image belongs to.
        media_ids: (M,) int64, the media (a video or a still) it comes from.
        landmarks: (M, 5, 2) float32, x and y in pixels: left eye, right eye, nose, left and right mouth corner.
        detector_scores: (M,) float32.
        pair_templates: (P, 2) int32 template ids.
        pair_is_same: (P,) bool.
    """

    name: str
    image_folder: Path
    images: list[str]
    template_ids: NDArray[np.int64]
    media_ids: NDArray[np.int64]
    landmarks: NDArray[np.float32]
    detector_scores: NDArray[np.float32]
    pair_templates: NDArray[np.int32]
    pair_is_same: NDArray[np.bool_]

    def require_images(self) -> None:
        """Raise FileNotFoundError, naming the first, if an image of the lists is not in `image_folder`."""
        if not self.image_folder.is_dir():
            raise FileNotFoundError(
                f"no image folder {self.image_folder}: it should hold the {len(self.images)} images of {self.name}"
            )
        present = {entry.name for entry in os.scandir(self.image_folder)}
        missing = [image for image in self.images if image not in present]
        if missing:
            count = f"{len(missing)} of {len(self.images)}"
            raise FileNotFoundError(f"{count} images are not in {self.image_folder}, the first is {missing[0]}")


class SubjectList(NamedTuple):
    """Templates with their subject: a gallery or the probes of a 1:N protocol, both (T,) int64."""

    template_ids: NDArray[np.int64]
    subject_ids: NDArray[np.int64]


def read_template_set(root: str | Path, name: str = "ijbc") -> TemplateSet:
    """Return the 1:1 protocol that lies in `root`.

    Raises:
        FileNotFoundError: if a list is missing.
        ValueError: if a line is malformed, an image has no landmarks, or a pair names a template without images.
    """
    root = Path(root)
    meta = root / "meta" if (root / "meta").is_dir() else root
    paths = {kind: meta / f"{name}_{kind}.txt" for kind in ("face_tid_mid", "template_pair_label", "name_5pts_score")}
    for path in paths.values():
        if not path.is_file():
            raise FileNotFoundError(f"no {path.name} in {meta}: {root} should hold meta/{name}_*.txt and loose_crop/")
    images, template_ids, media_ids = _read_members(paths["face_tid_mid"])
    landmarks, detector_scores = _read_landmarks(paths["name_5pts_score"], images)
    pair_templates, pair_is_same = read_template_pairs(paths["template_pair_label"])
    _require_known(pair_templates, template_ids, paths["template_pair_label"])
    return TemplateSet(
        name,
        root / "loose_crop",
        images,
        template_ids,
        media_ids,
        landmarks,
        detector_scores,
        pair_templates,
        pair_is_same,
    )


class TemplatePairs(NamedTuple):
    """Pairs of templates, (P, 2) int32, and whether they are the same person, (P,) bool."""

    templates: NDArray[np.int32]
    is_same: NDArray[np.bool_]


def read_template_pairs(path: str | Path) -> TemplatePairs:
    """Return the pairs of a `template template label` file; raises ValueError naming the first malformed line."""
    path, wanted = Path(path), "template template label"
    table = _read_table(path, {"first": pa.int32(), "second": pa.int32(), "label": pa.int8()}, wanted)
    templates = _side_by_side(table, ["first", "second"], np.int32)
    labels = table["label"].to_numpy()
    if templates.min() < 0 or labels.min() < 0 or labels.max() > 1:
        first = int(np.argmax((templates < 0).any(axis=1) | (labels < 0) | (labels > 1)))
        got = f"{templates[first, 0]} {templates[first, 1]} {labels[first]}"
        raise ValueError(f"{path}, line {first + 1}: want '{wanted}' (ids from 0, label 0 or 1), got {got!r}")
    return TemplatePairs(templates, labels == 1)


def read_subject_list(path: str | Path) -> SubjectList:
    """Return the templates and subjects of a 1:N CSV (header line; template id and subject id come first), each
    template once.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no rows, a row is malformed, or a template has two subjects.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}: the 1:N protocol needs it")
    subjects: dict[int, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], start=2):
        try:
            template, subject = (int(word) for word in line.split(",")[:2])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: want 'template,subject,...', got {line[:60]!r}") from error
        if subjects.setdefault(template, subject) != subject:
            raise ValueError(
                f"{path}, line {number}: template {template} has subjects {subjects[template]} and {subject}"
            )
    if not subjects:
        raise ValueError(f"{path} lists no templates")
    try:
        return SubjectList(np.array(list(subjects), np.int64), np.array(list(subjects.values()), np.int64))
    except OverflowError:
        raise ValueError(f"{path} holds numbers beyond 64 bits: want template and subject numbers") from None


class _Members(NamedTuple):
    images: list[str]
    template_ids: NDArray[np.int64]
    media_ids: NDArray[np.int64]


def _read_members(path: Path) -> _Members:
    table = _read_table(
        path, {"image": pa.string(), "template": pa.int64(), "media": pa.int64()}, "image template media"
    )
    return _Members(table["image"].to_pylist(), table["template"].to_numpy(), table["media"].to_numpy())


class _Landmarks(NamedTuple):
    landmarks: NDArray[np.float32]
    detector_scores: NDArray[np.float32]


def _read_landmarks(path: Path, images: Sequence[str]) -> _Landmarks:
    numbers = [*(f"{axis}{point}" for point in range(5) for axis in "xy"), "score"]
    table = _read_table(
        path, {"image": pa.string(), **dict.fromkeys(numbers, pa.float32())}, "image, five x y, detector score"
    )
    values = _side_by_side(table, numbers, np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: {int((~np.isfinite(values)).sum())} landmarks or scores are NaN or infinite")
    names = table["image"].to_pylist()
    if names != images:
        row_of = {name: row for row, name in enumerate(names)}
        missing = [image for image in images if image not in row_of]
        if missing:
            raise ValueError(
                f"{len(missing)} images have a template but no landmarks in {path.name}, the first is {missing[0]}"
            )
        values = values[[row_of[image] for image in images]]
    return _Landmarks(values[:, :10].reshape(-1, 5, 2), values[:, 10].copy())


def _side_by_side(table: pa.Table, names: list[str], dtype: DTypeLike) -> NDArray[Any]:
    # Chunk by chunk: on a machine slow to hand out memory, a joined copy of each column first takes a second of IJB-C.
    values = np.empty((table.num_rows, len(names)), dtype)
    for column, name in enumerate(names):
        row = 0
        for chunk in table[name].chunks:
            values[row : row + len(chunk), column] = chunk.to_numpy()
            row += len(chunk)
    return values


def _read_table(path: Path, columns: dict[str, pa.DataType], wanted: str) -> pa.Table:
    """Read a text file of words, one row a line.

    Raises:
        ValueError: naming the first line that is not `wanted`, or if there is none.
    """
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: it should hold lines of '{wanted}'")
    with path.open("rb") as stream:
        delimiter = "\t" if b"\t" in stream.readline(LONGEST_LINE) else " "
    try:
        return csv.read_csv(
            path,
            csv.ReadOptions(column_names=list(columns)),
            csv.ParseOptions(delimiter=delimiter, quote_char=False),
            csv.ConvertOptions(column_types=columns, null_values=[]),
        )
    except pa.ArrowInvalid:  # irregular spacing, which is allowed, or a malformed line, which gets its number
        return _read_table_by_lines(path, columns, wanted)


def _read_table_by_lines(path: Path, columns: dict[str, pa.DataType], wanted: str) -> pa.Table:
    parsers = [
        str if pa.types.is_string(kind) else float if pa.types.is_floating(kind) else int for kind in columns.values()
    ]
    rows = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words:
                continue
            try:
                if any("_" in word for word, parse in zip(words, parsers, strict=True) if parse is not str):
                    raise ValueError("Python reads 1_0 as a number, the lists' writers do not")
                rows.append([parse(word) for parse, word in zip(parsers, words, strict=True)])
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: want '{wanted}', got {line.strip()[:120]!r}") from error
    if not rows:
        raise ValueError(f"{path} is empty: it should hold lines of '{wanted}'")
    try:
        arrays = [
            pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), columns.values(), strict=True)
        ]
    except (pa.ArrowInvalid, OverflowError) as error:
        raise ValueError(f"{path}: a number is out of range: {error}") from error
    return pa.table(arrays, names=list(columns))


def _require_known(pair_templates: NDArray[np.int32], template_ids: NDArray[Any], path: Path) -> None:
    if int(template_ids.min()) < 0:
        raise ValueError(f"template ids must not be negative, got {int(template_ids.min())}")
    known = np.zeros(int(pair_templates.max(initial=0)) + 1, bool)
    known[template_ids[template_ids < len(known)]] = True
    if not known[pair_templates.ravel()].all():
        is_known = known[pair_templates].all(axis=1)
        first = int(np.argmin(is_known))
        raise ValueError(
            f"{path.name}: {int((~is_known).sum())} pairs name a template without images, "
            f"the first is line {first + 1}: {pair_templates[first].tolist()}"
        )
