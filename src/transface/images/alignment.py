"""Aligns faces by five points: the similarity transform that brings them nearest to the template, then the 112x112 crop.

Points are (x, y) in pixels, the centre of the first pixel being (0, 0), in the order left eye, right eye, nose, left and right corner of
the mouth, as the viewer sees them (files are decoded upright, as their EXIF says). Shapes: B faces, P points.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

FACE_SIZE = 112
TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


def template_points() -> Tensor:
    """Return the five points (5, 2) of an aligned 112x112 face, float64."""
    return torch.tensor(TEMPLATE, dtype=torch.float64)


def similarity_transforms(points: Tensor, target: Tensor | None = None) -> Tensor:
    """Return (B, 2, 3) float64: rotation, one scale and shift, no reflection, that bring `points` nearest to `target`.

    Least squares in closed form: with points as complex numbers z and w about their means, w ~ a z and a = sum(conj(z) w) / sum |z|^2.

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
    unusable = ~torch.isfinite(spread) | (spread < 1e-6)
    if unusable.any():
        raise ValueError(f"the points of face {int(unusable.nonzero()[0])} are not finite or all in one place: {points[unusable][0].tolist()}")
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
    linear, shift = transforms[..., :2], transforms[..., 2:]
    inverse = torch.linalg.inv(linear.to(torch.float64))
    rows, columns = (torch.arange(side, dtype=torch.float64, device=transforms.device) for side in size)
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).reshape(1, -1, 2)
    sources = (places - shift.mT) @ inverse.mT
    # The centre of pixel i of n lies at (2 i + 1) / n - 1 in grid_sample's coordinates.
    grid = (2 * sources + 1) / torch.tensor([width, height], dtype=torch.float64, device=sources.device) - 1
    working = images.to(torch.promote_types(images.dtype, torch.float32))  # half precision tells places some pixels apart, not less
    moved = F.grid_sample(
        working, grid.reshape(-1, *size, 2).to(working), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return moved.to(images.dtype) if images.is_floating_point() else moved.round_().clamp_(0, 255).to(images.dtype)


def align_faces(images: Tensor, points: Tensor, *, size: int = FACE_SIZE) -> Tensor:
    """Return faces (B, 3, size, size) cut from images (B, 3, H, W), one each, by their points (B, 5, 2)."""
    if images.ndim != 4 or len(images) != len(points):
        raise ValueError(f"each of the {len(points)} rows of points needs an image (B, 3, H, W), got images {tuple(images.shape)}")
    scaled = template_points() * (size / FACE_SIZE)
    return warp(images, similarity_transforms(points.to(images.device), scaled), size=(size, size))


def align_image(image: Tensor, points: Tensor, *, size: int = FACE_SIZE) -> Tensor:
    """Return all faces (F, 3, size, size) of one image (3, H, W), given their points (F, 5, 2), or (5, 2) for one."""
    points = points[None] if points.ndim == 2 else points
    return align_faces(image[None].expand(len(points), -1, -1, -1), points, size=size)


class FacePoints(NamedTuple):
    """A line of a points file: a face of an image."""

    path: str
    points: Tensor


def read_points(path: str | Path) -> list[FacePoints]:
    """Return the faces listed in a CSV file of lines `image,x1,y1,...,x5,y5`; a first line of names is passed over.

    Raises:
        FileNotFoundError: no such file.
        ValueError: naming the first line that is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no points file {path}")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return list(_parse_points(lines, path))


def _parse_points(lines: Iterable[str], path: Path) -> Iterable[FacePoints]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        words = line.rsplit(",", 10)
        try:
            points = torch.tensor([float(word) for word in words[1:]], dtype=torch.float64).reshape(5, 2)
        except (ValueError, RuntimeError):
            points = torch.full((5, 2), float("nan"))
        if len(words) == 11 and torch.isfinite(points).all():
            yield FacePoints(words[0].strip().strip('"'), points)
        elif number > 1 or any(character.isdigit() for character in line.split(",")[-1][:1]):
            raise ValueError(f"{path}: line {number} must be 'image,x1,y1,...,x5,y5', got {line[:80]!r}")
