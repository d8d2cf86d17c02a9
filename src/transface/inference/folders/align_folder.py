"""Writes the aligned faces of a folder of photographs, a table of where they were, and a sheet of those that failed.

A stopped run resumes. The table is a points file: other verbs take it as points=.
"""

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image, ImageDraw, ImageOps
from torch import Tensor
from torchvision.io import encode_jpeg, encode_png

from transface.artifacts import holds_files, write_whole
from transface.images.detection import Policy
from transface.images.detectors.opening import open_detector
from transface.images.faces import FoundInFile, find_in_files
from transface.images.files import ALIGNED_MARK, ALIGNED_SHEET, ImageList, list_images, log_unread
from transface.images.sources import hash_files

TABLE, UNFINISHED, SHEET = "faces.csv", "faces.partial.csv", ALIGNED_SHEET
LARGEST_SIZE = 8192  # pixels of a face written
POINTS = tuple(f"{axis}{number}" for number in range(1, 6) for axis in "xy")
BOX = ("left", "top", "right", "bottom", "score")
COLUMNS = ("file", "face", *POINTS, *BOX, "detector", "aligned", "reason", "bytes", "crc32")
SHEET_SIDE, SHEET_COLUMNS, SHEET_MOST = 160, 8, 80
Progress = Callable[[int], None]


class Aligned(NamedTuple):
    """What was written.

    Attributes:
        output: the folder.
        num_pictures: looked at.
        num_faces: written.
        failed: the reason of each picture without a face.
        doubtful: what is to be said of pictures of which a face was written.
    """

    output: Path
    num_pictures: int
    num_faces: int
    failed: dict[str, str]
    doubtful: dict[str, str]


def align_folder(
    source: str | Path,
    output: str | Path,
    detector: str,
    *,
    take: Policy = "largest",
    size: int | tuple[int, int] = 112,
    margin: float = 0.0,
    min_eye_distance: float = 0.0,
    kind: str = "jpg",
    quality: int = 95,
    num_threads: int = 1,
    device: str = "cpu",
    progress: Progress = lambda _: None,
) -> Aligned:
    """Write the faces of all photographs of a folder (or list) below `output`, under the names of their pictures; where
    a list names pictures outside its own folder, under what follows the folder that all of them lie in.

    Pictures in `output` itself are none of those looked at.

    Args:
        kind: "jpg" or "png" of the files written.
        quality: of JPEGs.

    Raises:
        FileExistsError: if `output` holds faces of other pictures or settings, or files of another origin.
        ValueError, FileNotFoundError: for settings that cannot be, or no pictures.
    """
    check_align_settings(size, kind=kind, quality=quality, min_eye_distance=min_eye_distance, num_threads=num_threads)
    images, output = list_images(source), Path(output)
    log_unread(images.root, images.unread)
    if output.resolve() == images.root.resolve():
        raise ValueError(f"output must be another folder than the pictures', got {output}")
    images = images.outside(output)
    named = _face_names(_places(images), kind=kind, many=take == "all")
    name = open_detector(detector, device=device).name
    state = hash_files([str(path) for path in images.paths])
    settings = [name, take, size, margin, min_eye_distance, kind, quality, images.names, state]
    key = hashlib.sha256(json.dumps(settings).encode("utf-8", "surrogateescape")).hexdigest()
    rows = _begin(output, key)
    if (output / TABLE).is_file() and all(_is_there(output, row) for row in rows):
        progress(len(images.names))
        return _summary(output, rows)
    done = _whole_pictures(output, rows, images.names)
    progress(len(done))
    left = images.names[len(done) :]
    found = find_in_files(
        lambda: open_detector(detector, device=device),
        [images.root / name for name in left],
        num_threads=num_threads,
        take=take,
        size=size,
        margin=margin,
        min_eye_distance=min_eye_distance,
    )
    whole = set(done)
    rows = [row for row in rows if row["file"] in whole]
    _write_rows(output / UNFINISHED, rows)
    with (output / UNFINISHED).open("a", encoding="utf-8", errors="surrogateescape", newline="") as table:
        for picture, faces in zip(left, found, strict=True):
            written = list(_write_faces(output, picture, faces, detector=name, named=named, kind=kind, quality=quality))
            _append(table, written)
            rows += written
            progress(1)
    summary = _summary(output, rows)
    _write_sheet(output / SHEET, images, summary.failed)
    (output / UNFINISHED).replace(output / TABLE)
    return summary


def check_align_settings(
    size: int | tuple[int, int], *, kind: str, quality: int, min_eye_distance: float, num_threads: int
) -> None:
    """Raise ValueError for settings of `align_folder` that cannot be."""
    if kind not in ("jpg", "png") or not 1 <= quality <= 100:
        raise ValueError(f"kind must be jpg or png, and quality in 1..100, got {kind!r} and {quality}")
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side <= LARGEST_SIZE for side in sides):
        raise ValueError(f"size must be one side, or [height,width], each in 1..{LARGEST_SIZE} pixels, got {size}")
    if not 0 <= min_eye_distance < math.inf:
        raise ValueError(f"min_eye_distance must be pixels, 0 or more, got {min_eye_distance}")
    if num_threads < 1:
        raise ValueError(f"at least 1 thread is needed, got {num_threads}")


def _places(images: ImageList) -> dict[str, str]:
    """Return where below the output the face of each picture goes, by the name of the picture.

    Raises:
        ValueError: naming two pictures that are one.
    """
    places = {name: os.path.normpath(name) for name in images.names}
    if any(os.path.isabs(place) or place.split(os.sep)[0] == ".." for place in places.values()):
        whole = {name: os.path.abspath(images.root / name) for name in images.names}
        shared = os.path.commonpath([os.path.dirname(path) for path in whole.values()])
        places = {name: os.path.relpath(path, shared) for name, path in whole.items()}
    first: dict[str, str] = {}
    for name, place in places.items():
        if first.setdefault(place, name) != name:
            raise ValueError(f"{first[place]} and {name} are one picture: name it once")
    return places


def _begin(output: Path, key: str) -> list[dict[str, str]]:
    """Make the folder, or return the rows that a run of the same pictures and settings left in it."""
    mark = output / ALIGNED_MARK
    if holds_files(output) and not (mark.is_file() and mark.read_bytes() == key.encode()):
        what = "faces of other pictures or settings" if mark.is_file() else "other files"
        raise FileExistsError(f"{output} holds {what}: choose another output, or remove it")
    output.mkdir(parents=True, exist_ok=True)
    write_whole(mark, key)
    for path in (output / TABLE, output / UNFINISHED):
        if path.is_file():
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
                return [row for row in csv.DictReader(stream) if None not in row.values()]
    return []


def _is_there(output: Path, row: dict[str, str]) -> bool:
    return not row["aligned"] or (output / row["aligned"]).is_file()


def _whole_pictures(output: Path, rows: Sequence[dict[str, str]], names: Sequence[str]) -> list[str]:
    """The pictures done so far: all that have rows but the last, of which some may be missing, up to the first whose
    face was taken away.
    """
    seen = list(dict.fromkeys(row["file"] for row in rows))
    gone = {row["file"] for row in rows if not _is_there(output, row)}
    seen = seen[: next((place for place, name in enumerate(seen) if name in gone), len(seen) - 1)]
    return seen if seen == list(names[: len(seen)]) else []


def _write_faces(
    output: Path,
    picture: str,
    found: FoundInFile,
    *,
    detector: str,
    named: Callable[[str, int], str],
    kind: str,
    quality: int,
) -> Iterator[dict[str, str]]:
    mark = found.mark or ("", "")  # so that its points are not taken for those of another picture
    if not found.faces:
        row = {"file": picture, "detector": detector, "reason": found.reason or "", "bytes": mark[0], "crc32": mark[1]}
        yield dict.fromkeys(COLUMNS, "") | row
    for number, face in enumerate(found.faces):
        target = named(picture, number)
        write_whole(output / target, _encoded(face.image, kind, quality))
        numbers = [*face.points.reshape(-1).tolist(), *face.box.tolist(), face.score]
        values = [f"{value:.3f}" for value in numbers]
        words = [picture, str(number), *values, detector, target, found.reason or "", *mark]
        yield dict(zip(COLUMNS, words, strict=True))


def _face_names(places: dict[str, str], *, kind: str, many: bool) -> Callable[[str, int], str]:
    """Return what a face of a picture is called: as its place where that is of the kind written, else that with the
    kind behind it; `.face` stands between where that is the place of another picture.

    The sheet of what failed keeps its name.
    """
    kept = {f".{kind}", ".jpeg"} if kind == "jpg" else {f".{kind}"}
    taken = {*places.values(), SHEET}

    def named(picture: str, number: int) -> str:
        place = places[picture]
        if not many and Path(place).suffix.lower() in kept and place != SHEET:
            return place
        stem = f"{place}.{number}" if many else place
        while f"{stem}.{kind}" in taken:
            stem += ".face"
        return f"{stem}.{kind}"

    return named


def _encoded(face: Tensor, kind: str, quality: int) -> bytes:
    data: bytes = (
        (encode_png(face.contiguous()) if kind == "png" else encode_jpeg(face.contiguous(), quality)).numpy().tobytes()
    )
    return data


def _write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def _append(table: IO[str], rows: Sequence[dict[str, str]]) -> None:
    csv.DictWriter(table, COLUMNS).writerows(rows)
    table.flush()


def _summary(output: Path, rows: Sequence[dict[str, Any]]) -> Aligned:
    failed = {row["file"]: row["reason"] for row in rows if not row["face"]}
    doubtful = {row["file"]: row["reason"] for row in rows if row["face"] and row["reason"]}
    return Aligned(output, len({row["file"] for row in rows}), sum(1 for row in rows if row["face"]), failed, doubtful)


def _write_sheet(path: Path, images: ImageList, failed: dict[str, str]) -> None:
    """Write small pictures of what failed, with the reasons; nothing where nothing did."""
    if not failed:
        return
    names = list(failed)[:SHEET_MOST]
    cell = SHEET_SIDE + 28
    sheet = Image.new("RGB", (SHEET_COLUMNS * SHEET_SIDE, math.ceil(len(names) / SHEET_COLUMNS) * cell), "white")
    drawing = ImageDraw.Draw(sheet)
    for place, name in enumerate(names):
        left, top = place % SHEET_COLUMNS * SHEET_SIDE, place // SHEET_COLUMNS * cell
        try:
            with Image.open(images.root / name) as picture:
                picture.draft("RGB", (SHEET_SIDE, SHEET_SIDE))
                small = ImageOps.exif_transpose(picture).convert("RGB")
                small.thumbnail((SHEET_SIDE - 4, SHEET_SIDE - 4))
                sheet.paste(small, (left + 2, top + 2))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            drawing.line((left, top, left + SHEET_SIDE, top + SHEET_SIDE), fill="grey")
        for line, text in enumerate((name[-26:], failed[name][:26])):
            drawing.text(
                (left + 2, top + SHEET_SIDE + 12 * line), text.encode("ascii", "replace").decode(), fill="black"
            )
    with io.BytesIO() as stream:
        sheet.save(stream, "JPEG", quality=85)
        write_whole(path, stream.getvalue())
