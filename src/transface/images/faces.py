"""From photographs to aligned faces: decoded, looked at by a detector, chosen by a policy, cut out.

Shapes: F faces of a picture, H x W pixels of an aligned face.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transface.images.alignment import align_image
from transface.images.alignment_check import refusals
from transface.images.detection import (
    MAX_SIDE,
    Detector,
    Faces,
    Policy,
    choose,
    detect_faces,
    is_ambiguous,
    reason_for_none,
)
from transface.images.detectors.opening import open_detector
from transface.images.pixels import to_uint8
from transface.images.user_images import (
    Colours,
    ContentMark,
    content_mark,
    encoded_bytes,
    in_groups,
    is_array,
    many,
    read_picture,
)

log = logging.getLogger(__name__)
BATCH = 8  # pictures a detector is given at once


class FoundFace(NamedTuple):
    """A face of a photograph.

    Attributes:
        box: (4,) x1, y1, x2, y2 in pixels of the upright picture.
        points: (5, 2) eyes, nose, mouth corners, as the viewer sees them.
        score: of the detector.
        image: (3, H, W) uint8, RGB, aligned.
    """

    box: NDArray[np.float32]
    points: NDArray[np.float32]
    score: float
    image: Tensor


class FoundFaces(NamedTuple):
    """What was found in one picture.

    Attributes:
        faces: those a policy took and that can be aligned.
        reason: why there is none, or what is to be said of those there are; None if nothing is.
    """

    faces: list[FoundFace]
    reason: str | None = None


class FoundInFile(NamedTuple):
    """What was found in one file.

    Attributes:
        faces, reason: as FoundFaces has them.
        mark: of the bytes that were read; None of a file that could not be.
        is_read: whether it holds a picture that can be decoded.
    """

    faces: list[FoundFace]
    reason: str | None = None
    mark: ContentMark | None = None
    is_read: bool = True


def faces(
    pictures: Any,
    detector: str | Detector = "mtcnn",
    *,
    take: Policy = "all",
    size: int | tuple[int, int] = 112,
    margin: float = 0.0,
    min_eye_distance: float = 0.0,
    max_side: int = MAX_SIDE,
    device: str | torch.device = "cpu",
    colours: Colours = "rgb",
) -> Any:
    """Return the faces of one photograph as a list of FoundFace, the highest score first; of several photographs, a
    list of such lists.

    Args:
        pictures: one or many of: path, encoded bytes, PIL image, array or tensor.
        detector: "mtcnn", "yunet:FILE.onnx", "scrfd:FILE.onnx", or one that is open.
        take: "largest", "central", "score", "all" or "only" of each picture's faces.
        size: of the aligned faces: one side, or (height, width).
        margin: how much more is seen around each, as a share.
        min_eye_distance: pixels; smaller faces are left out.
        max_side: pixels; larger pictures are reduced for the detector.

    Raises:
        ValueError, FileNotFoundError: for a picture that cannot be read, or a detector that cannot be opened.
    """
    opened = open_detector(detector, device=device)
    one = isinstance(pictures, str | os.PathLike | bytes | bytearray | memoryview | Image.Image) or (
        is_array(pictures) and pictures.ndim < 4
    )
    settings = {
        "take": take,
        "size": size,
        "margin": margin,
        "min_eye_distance": min_eye_distance,
        "max_side": max_side,
    }
    listed = [pictures] if one else list(many(pictures))
    found: list[list[FoundFace]] = []
    for start in range(0, len(listed), BATCH):
        group = [
            as_bytes(read_picture(picture, colours=colours, name=f"pictures[{start + n}]"))
            for n, picture in enumerate(listed[start : start + BATCH])
        ]
        found += [picture.faces for picture in find_faces(opened, group, **settings)]  # type: ignore[arg-type]
    return found[0] if one else found


def as_bytes(picture: Tensor) -> Tensor:
    """Return a picture (3, H, W), uint8 or float in [-1, 1], as uint8."""
    return picture if picture.dtype == torch.uint8 else to_uint8(picture)


def find_faces(
    detector: Detector,
    pictures: Sequence[Tensor],
    *,
    take: Policy = "largest",
    size: int | tuple[int, int] = 112,
    margin: float = 0.0,
    min_eye_distance: float = 0.0,
    max_side: int = MAX_SIDE,
) -> list[FoundFaces]:
    """Return what a detector finds in each picture (3, H, W) uint8, aligned."""
    arrays = [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in pictures]
    detected = detect_faces(detector, arrays, max_side=max_side, min_eye_distance=min_eye_distance)
    return [
        cut(picture, found, take=take, size=size, margin=margin)
        for picture, found in zip(pictures, detected, strict=True)
    ]


def detected_batches(
    images: Any,
    detector: Detector,
    size: tuple[int, int],
    *,
    batch_size: int,
    take: Policy = "largest",
    colours: Colours = "rgb",
) -> Iterator[Tensor]:
    """Yield batches (B, 3, H, W) uint8: one face of each picture, found, chosen and aligned, in order.

    Raises:
        ValueError: naming the first picture without such a face, and why.
    """
    position = 0
    for group in in_groups(many(images), batch_size):
        names = [_name(picture, position + number) for number, picture in enumerate(group)]
        pictures = [
            as_bytes(read_picture(picture, colours=colours, name=name))
            for picture, name in zip(group, names, strict=True)
        ]
        found = find_faces(detector, pictures, take=take, size=size)
        for one, name in zip(found, names, strict=True):
            if not one.faces:
                raise ValueError(f"{name}: {one.reason}")
            if one.reason is not None:
                log.warning("%s: one face of several was taken; %s", name, one.reason)
        yield torch.stack([one.faces[0].image for one in found])
        position += len(group)


def _name(picture: Any, position: int) -> str:
    return os.fsdecode(picture) if isinstance(picture, str | os.PathLike) else f"images[{position}]"


def cut(
    picture: Tensor, found: Faces, *, take: Policy, size: int | tuple[int, int] = 112, margin: float = 0.0
) -> FoundFaces:
    """Return the faces of one picture (3, H, W) that a policy takes, aligned; those that cannot be aligned go, with the
    reason.
    """
    sides = (picture.shape[1], picture.shape[2])
    places = choose(found, take, picture=sides)
    if not places:
        return FoundFaces([], reason_for_none(found, take))
    chosen = found.take(places)
    points = torch.from_numpy(chosen.points).double()
    reasons = refusals(points, picture=sides)
    good = [place for place, reason in enumerate(reasons) if reason is None]
    first_reason = next((reason for reason in reasons if reason is not None), None)
    if not good:
        return FoundFaces([], f"the face cannot be aligned: {first_reason}")
    images = align_image(picture, points[good], size=size, margin=margin)
    cut_out = [
        FoundFace(chosen.boxes[place], chosen.points[place], float(chosen.scores[place]), image)
        for place, image in zip(good, images, strict=True)
    ]
    said = (
        "ambiguous: another face has more than half the area of the largest"
        if take != "all" and is_ambiguous(found)
        else None
    )
    return FoundFaces(cut_out, said if first_reason is None else f"a face cannot be aligned: {first_reason}")


def find_in_files(
    make_detector: Callable[[], Detector],
    paths: Sequence[Any],
    *,
    num_threads: int = 1,
    ahead: int = 4,
    **settings: Any,
) -> Iterator[FoundInFile]:
    """Yield what is found in each file, in order; threads read and look at groups of them, each with a detector of its
    own. Each file is read once.

    A file that cannot be read is one without faces, with the reason.
    """
    own = threading.local()

    def look(group: Sequence[Any]) -> list[FoundInFile]:
        if not hasattr(own, "detector"):
            own.detector = make_detector()
        pictures: list[Tensor | str] = []
        marks: list[ContentMark | None] = []
        for path in group:
            encoded = None
            name = os.fsdecode(path) if isinstance(path, str | os.PathLike) else "the image"
            try:
                encoded = encoded_bytes(path)
                pictures.append(as_bytes(read_picture(path if encoded is None else encoded, name=name)))
            except (ValueError, OSError) as error:
                pictures.append(str(error))
            marks.append(None if encoded is None else content_mark(encoded))
        readable = [picture for picture in pictures if isinstance(picture, Tensor)]
        found = iter(find_faces(own.detector, readable, **settings))
        return [
            FoundInFile([], picture, mark, is_read=False)
            if isinstance(picture, str)
            else FoundInFile(*next(found), mark)
            for picture, mark in zip(pictures, marks, strict=True)
        ]

    groups = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    with ThreadPoolExecutor(num_threads, thread_name_prefix="detect") as pool:
        waiting = [pool.submit(look, group) for group in groups[: num_threads * ahead]]
        for later in [*groups[num_threads * ahead :], *[None] * len(waiting)]:
            done = waiting.pop(0)
            if later is not None:
                waiting.append(pool.submit(look, later))
            yield from done.result()
