"""Cuts faces out of pictures of any size by five points each, in batches for a backbone.

Shapes: N faces, B of them in a batch, H x W the size the backbone takes.
"""

import os
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transface.images.alignment import align_faces, five_points, read_points_file
from transface.images.alignment_check import check_points
from transface.images.user_images import Colours, content_mark, in_groups, is_array, joined, many, read_picture

NUM_COMPARED = 64  # pictures whose content is compared with what a points file says of it


def aligned_batches(
    images: Any, points: Any, size: tuple[int, int], *, batch_size: int, colours: Colours = "rgb"
) -> Iterator[Tensor]:
    """Yield batches (B, 3, H, W) of faces cut out of pictures by their points, in order.

    Args:
        images: as `batches_of_faces` takes them, but of any size; or one picture with several faces.
        points: (5, 2) or (68, 2) for one face, (N, 5, 2) for one face in each of N pictures or for N faces of one
            picture; pixels x, y.

    Raises:
        ValueError: if images and points do not go together, or a face's points have no place in common with the
            template.
    """
    rows = face_points(points)
    pictures = list(many(images)) if not _is_one(images) else [images] * len(rows)
    if len(pictures) != len(rows):
        raise ValueError(
            f"each picture needs its five points: got {len(pictures)} pictures and points {tuple(rows.shape)}"
        )
    position = 0
    last: tuple[Any, Tensor] | None = None  # several faces of one picture read it once
    for group in in_groups(zip(pictures, rows, strict=True), batch_size):
        faces = []
        for picture, five in group:
            if last is None or last[0] is not picture:
                last = (picture, read_picture(picture, colours=colours, name=f"images[{position}]"))
            faces.append(_aligned(last[1], five, (size[0], size[1]), name=_name_of(picture, position)))
            position += 1
        yield joined(faces)


def face_points(points: Any) -> Tensor:
    """Return points as (N, 5, 2) float64.

    Raises:
        ValueError: for another shape, or numbers that are not finite.
    """
    try:
        points = points.detach().double().cpu() if isinstance(points, Tensor) else points
        rows = torch.from_numpy(np.array(points, dtype=np.float64))  # copied: torch takes no view turned round
    except (TypeError, ValueError) as error:
        raise ValueError(f"points must be numbers (5, 2) or (N, 5, 2), got {type(points).__name__}: {error}") from error
    rows = rows.reshape(0, 5, 2) if rows.shape == (0,) else rows[None] if rows.ndim == 2 else rows
    if rows.ndim != 3 or rows.shape[1] not in (5, 68) or rows.shape[2] != 2:
        raise ValueError(
            "points must be (5, 2) or (N, 5, 2): x, y of eyes, nose, mouth corners, or 68 points a face; got"
            f" {tuple(rows.shape)}"
        )
    rows = five_points(rows)
    if not bool(rows.isfinite().all()):
        raise ValueError("points hold numbers that are not finite")
    return rows


def _is_one(images: Any) -> bool:
    if is_array(images):
        return images.ndim < 4
    return isinstance(images, str | bytes | bytearray | memoryview | Image.Image) or hasattr(images, "__fspath__")


def _aligned(picture: Tensor, five: Tensor, size: tuple[int, int], *, name: str) -> Tensor:
    try:
        check_points(five, name=name, picture=(picture.shape[1], picture.shape[2]))
        return align_faces(picture[None], five[None], size=size)[0]
    except ValueError as error:
        raise ValueError(str(error) if name in str(error) else f"{name}: {error}") from error


def _name_of(picture: Any, position: int) -> str:
    return (
        f"{picture} (points[{position}])"
        if isinstance(picture, str) or hasattr(picture, "__fspath__")
        else f"points[{position}]"
    )


class ListedPoints(dict[str, NDArray[np.float64]]):
    """The five points (5, 2) of each image of a file, by name, and what the file says of the images.

    Attributes:
        source: the file.
        marks: (number of bytes, CRC-32) of each image, as the file has them; "" where it does not say.
        reasons: why the file has no points of other images, by name.
    """

    def __init__(self, source: str | Path) -> None:
        super().__init__()
        self.source = source
        self.marks: dict[str, tuple[str, str]] = {}
        self.reasons: dict[str, str] = {}

    def key_of(self, name: str) -> str | None:
        """Return what the file calls an image: its name, or the longest end of its path that the file has; None where
        it has none.
        """
        return _key_in(self, name)

    def reason_for(self, name: str) -> str | None:
        """Return why the file has no points of an image; None where it does not name it."""
        key = _key_in(self.reasons, name)
        return None if key is None else f"{self.source} has no points of {name}: {self.reasons[key]}"

    def check(self, names: Iterable[str], picture_of: Callable[[str], Path | bytes]) -> None:
        """Raise ValueError where the points of an image are those of another one.

        Of every image the number of bytes is compared, of the first ones the content too.

        Args:
            names: of the images.
            picture_of: gives the file of an image, or its bytes.
        """
        users: dict[str, str] = {}
        names = list(names)
        if names and not any(self.key_of(name) or self.reason_for(name) for name in names):
            raise ValueError(
                f"there are no points for {names[0]}: {self.source} has some of none of these pictures, it names"
                f" {next(iter(self))}; it should name them as they are called from their folder on"
            )
        for name in names:
            key = self.key_of(name)
            if key is None:
                continue
            if users.setdefault(key, name) != name:
                raise ValueError(f"{self.source} has points of one {key}, and {users[key]} and {name} are two pictures")
            num_bytes, crc32 = self.marks.get(key, ("", ""))
            if num_bytes and not _is_marked(picture_of(name), num_bytes, crc32 if len(users) <= NUM_COMPARED else ""):
                raise ValueError(
                    f"{self.source} has points of another picture than {name}: its {key} had {num_bytes} bytes and"
                    " another content; 'transface align' makes the points of these pictures, detector= finds faces anew"
                )


def _key_in(names: Container[str], name: str) -> str | None:
    parts = Path(os.path.normpath(name)).parts
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    written = [unicodedata.normalize(form, end) for end in ends for form in ("NFC", "NFD")]  # as systems write é
    return next((key for key in (name, *ends, *written) if key in names), None)


class PointsOfPictures(dict[str, NDArray[np.float64]]):
    """The five points (5, 2) of each picture of a list, by its name.

    Attributes:
        reasons: why others have none, as a whole sentence, by name; of those that nothing is known of there is none.
    """

    def __init__(self, points: Mapping[str, NDArray[np.float64]], reasons: Mapping[str, str] = MappingProxyType({})):
        super().__init__(points)
        self.reasons = dict(reasons)


def listed_points(
    points: ListedPoints, names: Iterable[str], picture_of: Callable[[str], Path | bytes]
) -> PointsOfPictures:
    """Return what a points file knows of some pictures.

    Args:
        names: of the pictures.
        picture_of: gives the file of one, or its bytes.

    Raises:
        ValueError: if the points of a picture are those of another one.
    """
    names = list(names)
    points.check(names, picture_of)
    keys = {name: points.key_of(name) for name in names}
    reasons = {name: points.reason_for(name) for name, key in keys.items() if key is None}
    return PointsOfPictures(
        {name: points[key] for name, key in keys.items() if key is not None},
        {name: reason for name, reason in reasons.items() if reason is not None},
    )


def why_no_points(points: Mapping[str, Any], name: str) -> str:
    """Return why a picture has no points."""
    known = points.reasons if isinstance(points, PointsOfPictures) else {}
    return known.get(name, f"there are no points for {name}")


def _is_marked(picture: Path | bytes, num_bytes: str, crc32: str) -> bool:
    if isinstance(picture, Path) and not picture.is_file():
        return True  # reading it says that it is missing
    size = len(picture) if isinstance(picture, bytes) else picture.stat().st_size
    if str(size) != num_bytes or not crc32:
        return str(size) == num_bytes
    return content_mark(picture if isinstance(picture, bytes) else picture.read_bytes()).crc32 == crc32


def points_by_name(path: str | Path) -> ListedPoints:
    """Return the five points (5, 2) of each image of a CSV file `image,x1,y1,...,x5,y5`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line is something else, or an image is named twice.
    """
    found = ListedPoints(path)
    faces, reasons = read_points_file(path)
    found.reasons = {os.path.normpath(name): reason for name, reason in reasons.items()}
    for face in faces:
        name = os.path.normpath(face.path)  # ./a.jpg is a.jpg
        if name in found:
            raise ValueError(f"{path} has points of two faces of {name}: keep one a picture")
        found[name] = face.points.numpy()
        found.marks[name] = (face.num_bytes, face.crc32)
    if not found and not reasons:
        raise ValueError(f"{path} has no points")
    return found
