"""Embeds a folder of faces, part by part, so that a stopped run resumes where it was.

Shapes: N images, E embedding size.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from transface.data.sources.picture_list import PictureList, all_pictures
from transface.images.detection import Detector, Policy
from transface.images.detectors.opening import open_detector
from transface.images.files import require_utf8
from transface.images.fit import Fit, check_fit
from transface.images.sources import hash_files
from transface.images.user_points import PointsOfPictures, why_no_points
from transface.inference.face_model import FaceModel, require_embedding
from transface.inference.folders.embeddings_file import (
    NamedEmbeddings,
    checked_output,
    read_embeddings,
    write_embeddings,
)
from transface.inference.quality import Quality, check_quality, rate_faces
from transface.progress import SECONDS_BETWEEN_NOTES

log = logging.getLogger(__name__)
PART_SIZE = 4096
GROUP_OF_BATCHES = 8
QUICK_SECONDS = 4.0  # a group that takes no longer is followed by one of twice as many batches
Progress = Callable[[int], None]


def print_nothing(num_images: int) -> None:
    """Discard the progress."""


def embed_folder(
    model: FaceModel,
    images: PictureList,
    output: str | Path,
    *,
    batch_size: int = 64,
    flip: Literal["none", "sum"] = "none",
    fit: Fit = "refuse",
    points: dict[str, NDArray[np.float64]] | None = None,
    detector: str | Detector | None = None,
    faces: Policy = "largest",
    quality: Quality | None = None,
    keypoints: str = "",
    unreadable: Literal["refuse", "skip"] = "refuse",
    stale: Literal["refuse", "replace"] = "refuse",
    part_size: int = PART_SIZE,
    progress: Progress = print_nothing,
    clock: Callable[[], float] = time.monotonic,
) -> NamedEmbeddings:
    """Write the embeddings of all images to `output` (.npz or .parquet) and return them.

    Parts lie in `<output>.parts` until all is done; a second call with the same model, images and settings resumes with
    them, and one after the end changes nothing. `progress` is told how many images more are done. With `quality` each
    face is rated too (see `rate_faces`). `keypoints` tells where a model with KP-RPE has its key points from, "" the
    template.

    Raises:
        FileExistsError: if `output` holds embeddings of another model, other images or other settings, and `stale` is
            "refuse".
        ValueError, FileNotFoundError: if an image cannot be read and `unreadable` is "refuse"; what is done is kept.
    """
    output = checked_output(output)
    if unreadable not in ("refuse", "skip"):
        raise ValueError(f'unreadable must be "refuse" or "skip", got {unreadable!r}')
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if flip not in ("none", "sum"):
        raise ValueError(f'flip must be "none" or "sum", got {flip!r}')
    check_fit(fit)
    check_quality(quality)
    require_embedding(model)
    if detector is not None and (points is not None or faces == "all"):
        raise ValueError("detector= finds the points itself, one face a picture: give no points=, and no faces=all")
    if output.suffix == ".parquet":
        require_utf8(images.names, kind="a .parquet file")
    opened = None if detector is None else open_detector(detector, device=model.device)
    about = _about(model, images, flip=flip, fit=fit, points=points)
    if opened is not None:
        about = _keyed(about, f"{opened.name} {faces}", detector=opened.name, faces=faces)
    if quality is not None:
        about = _keyed(about, quality, quality=quality)
    if keypoints:
        about = _keyed(about, f"keypoints {keypoints}", keypoints=keypoints)
    if output.is_dir():
        raise ValueError(f"output must be a file, and {output} is a folder: choose another name")
    if output.exists():
        found = read_embeddings(output)
        if found.about.get("key") == about["key"]:
            progress(len(images.names))
            return found
        if stale == "refuse":
            raise FileExistsError(
                f"{output} holds embeddings of another model, other images or other settings: choose another output, or"
                " remove it"
            )
    parts = _open_parts(output, about["key"])
    settings: dict[str, Any] = {"batch_size": batch_size, "flip": flip, "fit": fit}
    if opened is not None:
        settings |= {"detector": opened, "faces": faces}
    if quality is not None:
        settings["quality"] = quality
    start = 0
    while start < len(images.names):
        count = _num_in_part(parts, start)
        if count:
            progress(count)
        else:
            names = images.names[start : start + part_size]
            found, count = _embed_names(
                model, images, names, settings, points=points, unreadable=unreadable, progress=progress, clock=clock
            )
            write_embeddings(parts / f"part-{start:09d}-{count}.npz", found)
        start += count
    if unreadable == "skip" and not any(len(read_embeddings(path).names) for path in parts.glob("part-*.npz")):
        shutil.rmtree(parts)
        raise ValueError(f"none of {len(images.names)} images could be embedded: the warnings before say why")
    found = _joined([read_embeddings(path) for path in sorted(parts.glob("part-*.npz"))], about)
    write_embeddings(output, found)
    shutil.rmtree(parts)
    return found


def _keyed(about: dict[str, Any], words: str, **settings: Any) -> dict[str, Any]:
    """Return what embeddings are of with further settings, which `words` key."""
    return {**about, **settings, "key": hashlib.sha256(f"{about['key']} {words}".encode()).hexdigest()}


def _embed_names(
    model: FaceModel,
    images: PictureList,
    names: Sequence[str],
    settings: dict[str, Any],
    *,
    points: dict[str, NDArray[np.float64]] | None,
    unreadable: str,
    progress: Progress,
    clock: Callable[[], float],
) -> tuple[NamedEmbeddings, int]:
    """Return the embeddings of the first of some images, as many as `SECONDS_BETWEEN_NOTES` allow, and their number."""
    vectors, norms, qualities = [], [], []
    kept: list[str] = []
    skipped: list[str] = []
    started = clock()
    start, num_batches = 0, 1
    while start < len(names) and clock() - started < SECONDS_BETWEEN_NOTES:
        # Several batches in one call: the next one is read while the present one is in the network.
        group = list(names[start : start + num_batches * settings["batch_size"]])
        before = clock()
        if points is not None:
            _require_points(group, points)
        for readable in _readable_groups(
            model, images, group, settings, points=points, unreadable=unreadable, skipped=skipped
        ):
            kept += readable[0]
            vectors.append(readable[1].vectors.numpy())
            norms.append(readable[1].norms.numpy())
            if "quality" in settings:
                qualities.append(readable[1].quality.numpy())
        progress(len(group))
        start += len(group)
        num_batches = min(2 * num_batches, GROUP_OF_BATCHES) if clock() - before <= QUICK_SECONDS else 1
    width = model.embedding_size
    found = NamedEmbeddings(
        np.array(kept, dtype=np.str_),
        np.concatenate(vectors) if vectors else np.empty((0, width), np.float32),
        np.concatenate(norms) if norms else np.empty(0, np.float32),
        np.array(skipped, dtype=np.str_),
        {},
        None if "quality" not in settings else np.concatenate(qualities) if qualities else np.empty(0, np.float32),
    )
    return found, start


def _num_in_part(parts: Path, start: int) -> int:
    """Return how many images the part that begins with one of a number holds, 0 where there is no such part."""
    found = next(parts.glob(f"part-{start:09d}-*.npz"), None)
    return 0 if found is None else int(found.stem.rpartition("-")[2])


def _readable_groups(
    model: FaceModel,
    images: PictureList,
    group: list[str],
    settings: dict[str, Any],
    *,
    points: dict[str, NDArray[np.float64]] | None,
    unreadable: str,
    skipped: list[str],
) -> list[tuple[list[str], Any]]:
    """Embed a group at once; where an image in it is bad, one by one, so that it costs itself alone."""

    def embed(names: list[str]) -> Any:
        absent = [name for name in names if points is not None and name not in points]
        if absent:
            assert points is not None
            raise ValueError(why_no_points(points, absent[0]))
        own = None if points is None else np.stack([points[name] for name in names])
        paths = all_pictures(images, names)
        if "quality" in settings:
            return rate_faces(model, paths, points=own, **settings)
        return model.embed(paths, points=own, return_norms=True, **settings)

    try:
        return [(group, embed(group))]
    except (ValueError, OSError) as error:
        if unreadable == "refuse":
            if not isinstance(error, ValueError):
                raise
            raise ValueError(f"{error}; unreadable=skip leaves such pictures out and lists them") from error
    found = []
    for name in group:
        try:
            found.append(([name], embed([name])))
        except (ValueError, OSError) as error:
            log.warning("skipped %s: %s", name, error)
            skipped.append(name)
    return found


def _require_points(names: Sequence[str], points: dict[str, NDArray[np.float64]]) -> None:
    known = points.reasons if isinstance(points, PointsOfPictures) else {}
    missing = [name for name in names if name not in points and name not in known]
    if missing:
        raise ValueError(f"there are no points for {', '.join(missing[:3])}{' and others' if len(missing) > 3 else ''}")


def _about(
    model: FaceModel, images: PictureList, *, flip: str, fit: str, points: dict[str, NDArray[np.float64]] | None
) -> dict[str, Any]:
    fingerprint = model.fingerprint()
    state = hash_files([str(path) for path in images.files()])
    digest = hashlib.sha256(json.dumps([fingerprint, flip, fit, images.names, state]).encode())
    for name in images.names if points is not None else []:
        digest.update(np.ascontiguousarray(points[name]).tobytes() if points and name in points else b"")
    return {
        "key": digest.hexdigest(),
        "model": fingerprint,
        "source": model.provenance.get("source"),
        "flip": flip,
        "fit": fit,
    }


def _open_parts(output: Path, key: str) -> Path:
    parts = output.with_name(f"{output.name}.parts")
    mark = parts / "key"
    if parts.exists() and not (mark.is_file() and mark.read_text(encoding="utf-8") == key):
        log.warning("%s was left by another model, other images or other settings: starting over", parts)
        shutil.rmtree(parts)
    parts.mkdir(parents=True, exist_ok=True)
    mark.write_text(key, encoding="utf-8")
    for part in sorted(parts.glob("part-*.npz")):
        try:
            read_embeddings(part)
        except ValueError as error:
            log.warning("%s; its images are embedded again", error)
            part.unlink()
    return parts


def _joined(parts: Sequence[NamedEmbeddings], about: dict[str, Any]) -> NamedEmbeddings:
    names, vectors, norms, skipped = (np.concatenate([part[index] for part in parts]) for index in range(4))
    rated = [part.quality for part in parts if part.quality is not None]
    return NamedEmbeddings(names, vectors, norms, skipped, about, np.concatenate(rated) if rated else None)
