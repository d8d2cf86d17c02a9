"""Reads the template protocols of IJB-B and IJB-C: images, templates, media, landmarks, pairs, and the 1:N subject lists.

Layout of `root`: `meta/<name>_face_tid_mid.txt` (image template media), `meta/<name>_template_pair_label.txt` (template template label),
`meta/<name>_name_5pts_score.txt` (image, five x y, detector score), `loose_crop/<image>`; <name> is ijbb or ijbc. Without a meta folder the
text files are looked for in `root` itself. Fast: 15.7 million pairs in about a second.
Shapes: M images, P pairs of templates.
"""

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 1 << 20
MAX_DIGITS = 8
NEWLINE, TAB, SPACE = 10, 9, 32


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
            raise FileNotFoundError(f"no image folder {self.image_folder}: it should hold the {len(self.images)} images of {self.name}")
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
    with ThreadPoolExecutor(2) as threads:
        pairs = threads.submit(read_template_pairs, paths["template_pair_label"])
        images, template_ids, media_ids = _read_members(paths["face_tid_mid"])
        landmarks, detector_scores = _read_landmarks(paths["name_5pts_score"], images)
        pair_templates, pair_is_same = pairs.result()
    _require_known(pair_templates, template_ids, paths["template_pair_label"])
    return TemplateSet(name, root / "loose_crop", images, template_ids, media_ids, landmarks, detector_scores, pair_templates, pair_is_same)


class TemplatePairs(NamedTuple):
    """Pairs of templates, (P, 2) int32, and whether they are the same person, (P,) bool."""

    templates: NDArray[np.int32]
    is_same: NDArray[np.bool_]


def read_template_pairs(path: str | Path) -> TemplatePairs:
    """Return the pairs of a `template template label` file; raises ValueError naming the first malformed line."""
    path = Path(path)
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: it should hold lines of 'template template label'")
    data = np.memmap(path, np.uint8, mode="r")
    cuts = _line_cuts(data)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        parts = list(threads.map(lambda span: _parse_pairs(np.asarray(data[span[0] : span[1]])), itertools.pairwise(cuts)))
    if any(part is None for part in parts):
        return _parse_pairs_line_by_line(path)
    whole = [part for part in parts if part is not None]
    return TemplatePairs(np.concatenate([p.templates for p in whole]), np.concatenate([p.is_same for p in whole]))


def read_subject_list(path: str | Path) -> SubjectList:
    """Return the templates and subjects of a 1:N CSV (header line; template id and subject id come first), each template once.

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
            raise ValueError(f"{path}, line {number}: template {template} has subjects {subjects[template]} and {subject}")
    if not subjects:
        raise ValueError(f"{path} lists no templates")
    return SubjectList(np.array(list(subjects), np.int64), np.array(list(subjects.values()), np.int64))


def _line_cuts(data: NDArray[np.uint8]) -> list[int]:
    """Byte offsets that cut a file into chunks of whole lines."""
    cuts = [0]
    while cuts[-1] < len(data):
        end = min(cuts[-1] + CHUNK_BYTES, len(data))
        while end < len(data) and data[end - 1] != NEWLINE:
            end += 1
        cuts.append(end)
    return cuts


def _parse_pairs(text: NDArray[np.uint8]) -> TemplatePairs | None:
    """Parse whole lines of exactly 'digits digits bit', single-spaced; None if any differs."""
    if text[-1] != NEWLINE:
        text = np.append(text, np.uint8(NEWLINE))
    # Eight bytes in front, so that the eight bytes before any separator can be read as one number.
    padded = np.empty(len(text) + 8, np.uint8)
    padded[:8], padded[8:] = ord("0"), text
    separators = np.flatnonzero(text < ord("0"))
    if len(separators) % 3 or int(text.max()) > ord("9"):
        return None
    after = separators.reshape(-1, 3)
    lengths = np.diff(separators, prepend=-1).reshape(-1, 3) - 1
    marks = text[separators].reshape(-1, 3)
    labels = text[after[:, 2] - 1]
    regular = (
        int(lengths.min()) >= 1
        and int(lengths.max()) <= MAX_DIGITS
        and bool((lengths[:, 2] == 1).all())
        and bool((marks[:, 2] == NEWLINE).all())
        and bool(((marks[:, :2] == SPACE) | (marks[:, :2] == TAB)).all())
        and int(labels.max()) <= ord("1")
    )
    if not regular:
        return None
    words: NDArray[np.uint64] = np.ndarray((len(text) + 1,), "<u8", padded.data, 0, (1,))
    columns = [_numbers_ending_at(words, after[:, column], lengths[:, column]) for column in (0, 1)]
    return TemplatePairs(np.stack(columns, axis=1), labels == ord("1"))


def _numbers_ending_at(words: NDArray[np.uint64], ends: NDArray[np.intp], lengths: NDArray[np.intp]) -> NDArray[np.int32]:
    """Turn up to eight ASCII digits before each end into a number, eight digits at once within a 64-bit word."""
    digits = words[ends]
    shift = (MAX_DIGITS - lengths).astype(np.uint64) << np.uint64(3)
    digits >>= shift  # what stands before the number falls out
    digits <<= shift
    digits &= np.uint64(0x0F0F0F0F0F0F0F0F)
    # Neighbouring digits join to pairs, pairs to fours, fours to eight: x * (base * 2^k + 1) adds each to its neighbour.
    for factor, width, mask in (
        (10 << 8 | 1, 8, 0x00FF00FF00FF00FF),
        (100 << 16 | 1, 16, 0x0000FFFF0000FFFF),
        (10_000 << 32 | 1, 32, 0xFFFFFFFF),
    ):
        digits *= np.uint64(factor)
        digits >>= np.uint64(width)
        digits &= np.uint64(mask)
    return digits.astype(np.int32)


def _parse_pairs_line_by_line(path: Path) -> TemplatePairs:
    templates: list[tuple[int, int]] = []
    labels: list[bool] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words:
                continue
            if len(words) != 3 or not all(word.isdecimal() for word in words) or words[2] not in {"0", "1"}:
                raise ValueError(f"{path}, line {number}: want 'template template label' (label 0 or 1), got {line.strip()[:60]!r}")
            templates.append((int(words[0]), int(words[1])))
            labels.append(words[2] == "1")
    return TemplatePairs(np.array(templates, np.int32).reshape(-1, 2), np.array(labels, bool))


class _Members(NamedTuple):
    images: list[str]
    template_ids: NDArray[np.int64]
    media_ids: NDArray[np.int64]


def _read_members(path: Path) -> _Members:
    words = _words(path, 3, "image template media")
    images = [word.decode() for word in words[0::3]]
    return _Members(images, _as_integers(words[1::3], path), _as_integers(words[2::3], path))


class _Landmarks(NamedTuple):
    landmarks: NDArray[np.float32]
    detector_scores: NDArray[np.float32]


def _read_landmarks(path: Path, images: Sequence[str]) -> _Landmarks:
    words = _words(path, 12, "image, five x y, detector score")
    names = [word.decode() for word in words[0::12]]
    del words[0::12]
    try:
        values = np.fromiter(map(float, words), np.float32, len(words)).reshape(-1, 11)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; want lines of 'image, five x y, detector score'") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: {int((~np.isfinite(values)).sum())} landmarks or scores are NaN or infinite")
    if names != images:
        row_of = {name: row for row, name in enumerate(names)}
        missing = [image for image in images if image not in row_of]
        if missing:
            raise ValueError(f"{len(missing)} images have a template but no landmarks in {path.name}, the first is {missing[0]}")
        values = values[[row_of[image] for image in images]]
    return _Landmarks(values[:, :10].reshape(-1, 5, 2), values[:, 10].copy())


def _words(path: Path, per_line: int, wanted: str) -> list[bytes]:
    """All words of a file with `per_line` words on each line."""
    text = path.read_bytes()
    words = text.split()
    num_lines = text.count(b"\n") + (not text.endswith(b"\n"))
    if not words or len(words) != per_line * num_lines:
        for number, line in enumerate(text.splitlines(), start=1):
            if len(line.split()) != per_line:
                raise ValueError(f"{path}, line {number}: want '{wanted}', got {line[:60].decode(errors='replace')!r}")
        raise ValueError(f"{path} is empty: it should hold lines of '{wanted}'")
    return words


def _as_integers(words: list[bytes], path: Path) -> NDArray[np.int64]:
    try:
        return np.fromiter(map(int, words), np.int64, len(words))
    except ValueError as error:
        raise ValueError(f"{path}: template and media must be whole numbers: {error}") from error


def _require_known(pair_templates: NDArray[np.int32], template_ids: NDArray[Any], path: Path) -> None:
    limit = int(max(pair_templates.max(initial=0), template_ids.max())) + 1
    if int(template_ids.min()) < 0:
        raise ValueError(f"template ids must not be negative, got {int(template_ids.min())}")
    known = np.zeros(limit, bool)
    known[template_ids] = True
    if not known[pair_templates.ravel()].all():
        is_known = known[pair_templates].all(axis=1)
        first = int(np.argmin(is_known))
        raise ValueError(
            f"{path.name}: {int((~is_known).sum())} pairs name a template without images, "
            f"the first is line {first + 1}: {pair_templates[first].tolist()}"
        )
