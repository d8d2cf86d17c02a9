"""Aligns faces by five points: the similarity transform that brings them nearest to the template, then the crop.

Points are (x, y) in pixels, the centre of the first pixel being (0, 0), in the order left eye, right eye, nose, left
and right corner of the mouth, as the viewer sees them (files are decoded upright, as their EXIF says). Shapes: B faces,
P points.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from transface.face_template import FACE_SIZE as FACE_SIZE
from transface.face_template import TEMPLATE as TEMPLATE
from transface.face_template import template_points as template_points
from transface.images.files import list_lines


def five_points(points: Tensor) -> Tensor:
    """Return faces (..., 5, 2) of faces given by 5 or 68 points (iBUG's): centres of the eyes, tip of the nose, corners
    of the mouth.

    Raises:
        ValueError: for another number of points.
    """
    if points.shape[-1:] != (2,) or points.ndim < 2 or points.shape[-2] not in (5, 68):
        raise ValueError(f"a face has 5 or 68 points x, y, got shape {tuple(points.shape)}")
    if points.shape[-2] == 5:
        return points
    eyes = [points[..., start : start + 6, :].mean(-2) for start in (36, 42)]
    return torch.stack([*eyes, points[..., 30, :], points[..., 48, :], points[..., 54, :]], -2)


def inverse_points(transforms: Tensor, places: Tensor) -> Tensor:
    """Return where in the pictures (B, N, 2) the places (N, 2) of the results of `transforms` (B, 2, 3) come from, x
    and y.
    """
    inverse = torch.linalg.inv(transforms[..., :2].to(torch.float64))
    return (places.to(inverse) - transforms[..., 2:].to(inverse).mT) @ inverse.mT


def are_usable(points: Tensor) -> Tensor:
    """Return whether the points (B, P, 2) of each face are finite and not all in one place, (B,)."""
    spread = (points.double() - points.double().mean(-2, keepdim=True)).square().sum((-2, -1))
    return torch.isfinite(spread) & (spread >= 1e-6)


def similarity_transforms(points: Tensor, target: Tensor | None = None) -> Tensor:
    """Return (B, 2, 3) float64: rotation, one scale and shift, no reflection, that bring `points` nearest to `target`.

    Least squares in closed form: with points as complex numbers z and w about their means, w ~ a z and a = sum(conj(z)
    w) / sum |z|^2.

    Args:
        points: (B, P, 2).
        target: (P, 2) or (B, P, 2); by default the template.

    Raises:
        ValueError: for another shape, numbers that are not finite, or points that all lie in one place.
    """
    target = template_points() if target is None else target
    if points.ndim != 3 or points.shape[-1] != 2 or points.shape[-2:] != target.shape[-2:]:
        raise ValueError(f"points must be (B, {target.shape[-2]}, 2), got {tuple(points.shape)}")
    z = points.to(torch.float64)
    w = target.to(z)
    mean_z, mean_w = z.mean(-2, keepdim=True), w.mean(-2, keepdim=True)
    z, w = z - mean_z, (w - mean_w).expand_as(z)
    spread = z.square().sum((-2, -1))
    unusable = ~are_usable(points)
    if unusable.any():
        raise ValueError(
            f"the points of face {int(unusable.nonzero()[0])} are not finite or all in one place:"
            f" {points[unusable][0].tolist()}"
        )
    real = (z * w).sum((-2, -1)) / spread
    imaginary = (z[..., 0] * w[..., 1] - z[..., 1] * w[..., 0]).sum(-1) / spread
    linear = torch.stack([torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)], -2)
    shift = mean_w.mT - linear @ mean_z.mT
    return torch.cat([linear, shift], -1)


def warp(images: Tensor, transforms: Tensor, *, size: tuple[int, int] = (FACE_SIZE, FACE_SIZE)) -> Tensor:
    """Return (B, C, *size): each image moved by its transform (B, 2, 3), sampled bilinearly, black outside.

    Args:
        images: (B, C, H, W), uint8 (the result is rounded) or floating point. B may be an expanded dimension of size 1.
        transforms: where a pixel of the image comes to lie in the result.
    """
    height, width = images.shape[-2:]
    rows, columns = (torch.arange(side, dtype=torch.float64, device=transforms.device) for side in size)
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).reshape(1, -1, 2)
    sources = inverse_points(transforms, places)
    # The centre of pixel i of n lies at (2 i + 1) / n - 1 in grid_sample's coordinates.
    grid = (2 * sources + 1) / torch.tensor([width, height], dtype=torch.float64, device=sources.device) - 1
    working = images.to(
        torch.promote_types(images.dtype, torch.float32)
    )  # half precision tells places some pixels apart, not less
    moved = F.grid_sample(
        working, grid.reshape(-1, *size, 2).to(working), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return moved.to(images.dtype) if images.is_floating_point() else moved.round_().clamp_(0, 255).to(images.dtype)


def align_faces(
    images: Tensor, points: Tensor, *, size: int | tuple[int, int] = FACE_SIZE, margin: float = 0.0
) -> Tensor:
    """Return faces (B, 3, H, W) cut from images (B, 3, H', W'), one each, by their points (B, 5, 2) or (B, 68, 2).

    Args:
        size: one side, or (height, width), of the faces.
        margin: as `template_points` takes it.
    """
    if images.ndim != 4 or len(images) != len(points):
        raise ValueError(
            f"each of the {len(points)} rows of points needs an image (B, 3, H, W), got images {tuple(images.shape)}"
        )
    sides = (size, size) if isinstance(size, int) else size
    target = template_points(sides, margin=margin)
    transforms = similarity_transforms(five_points(points.to(images.device)), target)
    faces = [_cut(image, transform, sides) for image, transform in zip(images, transforms, strict=True)]
    return torch.stack(faces) if faces else images.new_empty((0, images.shape[1], *sides))


def _cut(image: Tensor, transform: Tensor, size: tuple[int, int]) -> Tensor:
    """The face (3, H, W) of one image: only the part of it that is seen is touched, and averaged first where it shrinks
    below a half.
    """
    corners = torch.tensor(
        [[x, y] for x in (0, size[1] - 1) for y in (0, size[0] - 1)], dtype=torch.float64, device=transform.device
    )
    seen = inverse_points(transform[None], corners)[0]
    scale = float(transform[:, :2].det().abs().sqrt())
    step = int(1 / max(scale, 1e-4)) if scale < 0.5 else 1
    low, high = (seen.amin(0) - 2 * step).floor().long().tolist(), (seen.amax(0) + 2 * step + 2).ceil().long().tolist()
    left, top = (
        min(max(value, 0), side - 1) for value, side in zip(low, (image.shape[2], image.shape[1]), strict=True)
    )
    right, bottom = (
        min(max(value, start + 1), side)
        for value, start, side in zip(high, (left, top), (image.shape[2], image.shape[1]), strict=True)
    )
    part = image[:, top:bottom, left:right]
    linear, shift = transform[:, :2], transform[:, 2] + transform[:, :2] @ torch.tensor([left, top]).to(transform)
    if step > 1:
        part = _averaged(part, step)
        # Pixel i of the small picture lies at step * i + (step - 1) / 2 of the large one.
        shift = shift + linear @ torch.full((2,), (step - 1) / 2).to(transform)
        linear = linear * step
    return warp(part[None], torch.cat([linear, shift[:, None]], 1)[None], size=size)[0]


def _averaged(part: Tensor, step: int) -> Tensor:
    rows, columns = (-part.shape[1]) % step, (-part.shape[2]) % step
    working = F.pad(part.to(torch.promote_types(part.dtype, torch.float32)), (0, columns, 0, rows))
    small = F.avg_pool2d(working[None], step)[0]
    return small.to(part.dtype) if part.is_floating_point() else small.round_().clamp_(0, 255).to(part.dtype)


def align_image(
    image: Tensor, points: Tensor, *, size: int | tuple[int, int] = FACE_SIZE, margin: float = 0.0
) -> Tensor:
    """Return all faces (F, 3, H, W) of one image (3, H', W'), given their points (F, 5, 2), or (5, 2) for one; 68
    points a face too.
    """
    points = points[None] if points.ndim == 2 else points
    return align_faces(image[None].expand(len(points), -1, -1, -1), points, size=size, margin=margin)


NAMES = ("file", "image", "path", "name")  # of the column that says which picture
USUAL_COLUMNS = [f"{axis}{number}" for number in range(1, 6) for axis in "xy"]


class FacePoints(NamedTuple):
    """A line of a points file: a face of an image; the image's bytes and CRC-32, "" where the file does not say."""

    path: str
    points: Tensor
    num_bytes: str = ""
    crc32: str = ""


class PointsFile(NamedTuple):
    """The faces that a points file lists, and why it has none of other images (`reasons`), by their names."""

    faces: list[FacePoints]
    reasons: dict[str, str]


def read_points(path: str | Path) -> list[FacePoints]:
    """Return the faces that a points file lists; see `read_points_file`."""
    return read_points_file(path).faces


def read_points_file(path: str | Path) -> PointsFile:
    """Return what a CSV file of lines `image,x1,y1,...,x5,y5` (or ...,x68,y68) holds; a first line of names is passed
    over.

    A file whose first line names the columns file (or image, path, name), x1, y1, ..., x5, y5 may have them in any
    order, and others too: `transface align` writes such, with the reason in the lines of pictures without a face.

    Raises:
        FileNotFoundError: no such file.
        ValueError: naming the first line that is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no points file {path}")
    lines = list_lines(path)
    rows = csv.reader([f"{line}\n" for line in lines])  # a quoted name may hold a comma, or go on in the next line
    names = [name.strip().lower() for name in next(rows, [])]
    if "x1" in names and (names[1:] != USUAL_COLUMNS or lines[0].startswith('"')):
        return _parse_table(rows, names, path)
    return PointsFile(list(_parse_points(lines, path)), {})


def _parse_table(rows: Any, names: list[str], path: Path) -> PointsFile:
    found = PointsFile([], {})
    columns = [f"{axis}{number}" for number in range(1, 69) for axis in "xy" if f"{axis}{number}" in names]
    if again := [name for name in columns if names.count(name) > 1]:
        raise ValueError(f"{path} has {names.count(again[0])} columns {again[0]}: which is meant, nothing tells")
    holder = next((names.index(name) for name in NAMES if name in names), None)
    if holder is None:
        raise ValueError(f"{path} must have a column {' or '.join(NAMES)} beside x1..y5, it has {', '.join(names)}")
    for row in rows:
        number = rows.line_num
        if not row:
            continue
        if len(row) != len(names):
            raise ValueError(f"{path}: line {number} has {len(row)} values, its first line names {len(names)} columns")
        words = dict(zip(names, row, strict=False))
        values = [words.get(column, "") for column in columns]
        if not any(values):
            found.reasons[row[holder]] = words.get("reason") or "no face was found"
            continue
        try:
            five = five_points(torch.tensor([float(value) for value in values], dtype=torch.float64).reshape(-1, 2))
        except (ValueError, RuntimeError):
            raise ValueError(
                f"{path}: line {number} must have numbers in the columns {columns[0]}..{columns[-1]}, got"
                f" {','.join(row)[:80]!r}"
            ) from None
        found.faces.append(FacePoints(row[holder], five, words.get("bytes", ""), words.get("crc32", "")))
    return found


def _parse_points(lines: Iterable[str], path: Path) -> Iterable[FacePoints]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        count = 136 if line.count(",") >= 136 else 10
        words = line.rsplit(",", count)
        try:
            points = torch.tensor([float(word) for word in words[1:]], dtype=torch.float64).reshape(-1, 2)
        except (ValueError, RuntimeError):
            points = torch.full((5, 2), float("nan"))
        if len(words) == count + 1 and torch.isfinite(points).all():
            yield FacePoints(words[0].strip().strip('"'), five_points(points))
        elif number > 1 or any(map(_is_number, line.split(",")[1:])):
            raise ValueError(f"{path}: line {number} must be 'image,x1,y1,...,x5,y5', got {line[:80]!r}")


def _is_number(word: str) -> bool:
    try:
        return bool(torch.isfinite(torch.tensor(float(word))))
    except ValueError:
        return False
