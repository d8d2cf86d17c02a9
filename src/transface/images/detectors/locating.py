"""Finds the face in each of many image files once, and keeps where: a second evaluation of the same files looks at none
of them again.

Shapes: M files.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import cache_folder, writing_file
from transface.images.detection import POLICIES, Policy
from transface.images.detectors.opening import open_detector
from transface.images.faces import find_in_files
from transface.images.sources import hash_files
from transface.progress import SECONDS_BETWEEN_NOTES, working
from transface.told_once import warn_once

log = logging.getLogger(__name__)
NAMED = 5
FORM = 2  # of what is kept
Missing = Literal["refuse", "center"]


class Located(NamedTuple):
    """Where the faces of M files are.

    Attributes:
        points: (M, 5, 2) float32, NaN where none was found.
        reasons: why there is none, or what is to be said of it, by the place of the file.
        unread: the places of files that hold no picture that can be read.
    """

    points: NDArray[np.float32]
    reasons: dict[int, str]
    unread: list[int]


def locate_faces(
    paths: Sequence[str | Path],
    detector: str,
    *,
    take: Policy = "largest",
    num_threads: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Located:
    """Return the points of one face of each file, found by a detector or kept from before; a search that was stopped
    resumes where it was, half a minute before the stop at most. Faces that were taken of several are told once.
    """
    located = _located(paths, detector, take=take, num_threads=num_threads, clock=clock)
    doubtful = [place for place in located.reasons if not np.isnan(located.points[place]).any()]
    if doubtful:
        first = f"{paths[doubtful[0]]}: {located.reasons[doubtful[0]]}"
        warn_once(log, "%d of %d pictures: one face of several was taken; %s", len(doubtful), len(paths), first)
    return located


def _located(
    paths: Sequence[str | Path],
    detector: str,
    *,
    take: Policy,
    num_threads: int | None,
    clock: Callable[[], float],
) -> Located:
    if take not in POLICIES or take == "all":
        raise ValueError(f"one face a picture is taken: faces must be largest, central, score or only, got {take!r}")
    names = [str(path) for path in paths]
    opened = open_detector(detector)
    key = hashlib.sha256(json.dumps([FORM, opened.name, take, hash_files(names)]).encode()).hexdigest()[:32]
    kept = cache_folder() / "faces" / f"{key}.npz"
    if kept.is_file():
        return _read(kept)[0]
    unfinished = kept.with_suffix(".partial")
    located, done = _read(unfinished) if unfinished.is_file() else (_nothing_located(len(names)), 0)
    points, reasons, unread = located
    threads = num_threads or os.cpu_count() or 1
    noted = clock()
    found_faces = find_in_files(lambda: open_detector(detector), names[done:], num_threads=threads, take=take)
    with working("finding faces", len(names), unit="pictures") as advance:
        advance(done)
        for place, found in enumerate(found_faces, start=done):
            if found.faces:
                points[place] = found.faces[0].points
            if found.reason is not None:
                reasons[place] = found.reason
            if not found.is_read:
                unread.append(place)
            advance(1)
            if clock() - noted >= SECONDS_BETWEEN_NOTES:
                _write(unfinished, located, place + 1)
                noted = clock()
    _write(kept, located, len(names))
    unfinished.unlink(missing_ok=True)
    return located


def _nothing_located(num_files: int) -> Located:
    return Located(np.full((num_files, 5, 2), np.nan, np.float32), {}, [])


def _read(path: Path) -> tuple[Located, int]:
    """Return what is kept, and of how many files from the front."""
    with np.load(path, allow_pickle=False) as stored:
        reasons = {int(place): text for place, text in json.loads(str(stored["reasons"])).items()}
        return Located(stored["points"], reasons, stored["unread"].tolist()), int(stored["done"])


def _write(path: Path, located: Located, done: int) -> None:
    with writing_file(path) as file:
        np.savez(
            file,
            points=located.points,
            reasons=np.array(json.dumps(located.reasons)),
            unread=np.array(located.unread, np.int64),
            done=np.array(done),
        )


def found_points(
    paths: Sequence[str | Path], detector: str, *, take: Policy = "largest", missing: Missing = "refuse"
) -> NDArray[np.float32]:
    """Return the points (M, 5, 2) of one face of each file; NaN where none was found and `missing` is "center".

    Raises:
        ValueError: for files that cannot be read, and for those without a face if `missing` is "refuse", with their
            number and the first few.
    """
    if missing not in ("refuse", "center"):
        raise ValueError(f"missing must be 'refuse' or 'center', got {missing!r}")
    located = locate_faces(paths, detector, take=take)
    absent = np.flatnonzero(np.isnan(located.points[:, 0, 0])).tolist()
    told = absent if missing == "refuse" else located.unread
    some = "; ".join(_sentence(paths[place], located.reasons.get(place)) for place in (told or absent)[:NAMED])
    if told and len(told) == len(located.unread):
        raise ValueError(f"{len(told)} of {len(paths)} pictures cannot be read, mend or remove them: {some}")
    if told:
        which = (
            "the middle of those that can be read, the others want mending"
            if located.unread
            else "their middle instead"
        )
        raise ValueError(
            f"{len(absent)} of {len(paths)} pictures have no face to take: {some}; missing=center takes {which}"
        )
    if absent:
        warn_once(
            log, "%d of %d pictures have no face to take, their middle is used: %s", len(absent), len(paths), some
        )
    return located.points


def _sentence(path: str | Path, reason: str | None) -> str:
    text = reason or "no face was found"
    return text if str(path) in text else f"{path}: {text}"
