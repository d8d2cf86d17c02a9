"""Two views of one face: the same geometry for both, the whole one for the teacher, the occluded one for the student.

Order: geometry, occluder, light. Drawing is apart from applying. Shapes: B faces of H x W pixels, P points. Images are
RGB, 0..255.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transface.data.augment.occluders import Occluder

# Where the points of a face lie in its mirror image: left and right change places.
MIRRORED_5 = (1, 0, 2, 4, 3)
MIRRORED_68 = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *range(64, 59, -1),
    *range(67, 64, -1),
)


class Geometry(NamedTuple):
    """One draw a face: mirrored (B,) bool, angle (B,) in radians, scale (B,), gain (B,) of the light.

    `turned` and `relit` are False where every angle and scale, or every gain, changes nothing: what is then skipped is
    known without waiting for a device.
    """

    mirrored: Tensor
    angle: Tensor
    scale: Tensor
    gain: Tensor
    turned: bool = True
    relit: bool = True


class PairedViews(NamedTuple):
    """Faces seen twice.

    Attributes:
        clean: (B, 3, H, W).
        occluded: (B, 3, H, W): the same pixels but for what is hidden.
        alpha: (B, 1, H, W) what hides each pixel.
        fell_back: (B,) bool: faces whose points were missing.
    """

    clean: Tensor
    occluded: Tensor
    alpha: Tensor
    fell_back: Tensor


def draw_geometry(
    count: int,
    generator: torch.Generator | None = None,
    *,
    flip_probability: float = 0.5,
    max_degrees: float = 10.0,
    scale: tuple[float, float] = (0.9, 1.1),
    gain: tuple[float, float] = (0.85, 1.15),
) -> Geometry:
    """Return the geometry and light of `count` faces, drawn from the generator, on its device."""
    device = "cpu" if generator is None else generator.device
    draws = torch.rand(4, count, generator=generator, device=device)
    angle = math.radians(max_degrees) * (2 * draws[1] - 1)
    return Geometry(
        draws[0] < flip_probability,
        angle,
        scale[0] + (scale[1] - scale[0]) * draws[2],
        gain[0] + (gain[1] - gain[0]) * draws[3],
        turned=max_degrees != 0 or tuple(scale) != (1, 1),
        relit=tuple(gain) != (1, 1),
    )


def moved(images: Tensor, points: Tensor | None, geometry: Geometry) -> tuple[Tensor, Tensor | None]:
    """Return images (B, 3, H, W) mirrored, turned and scaled about their middle, and their points with them; uint8
    stays uint8.
    """
    device = images.device
    mirrored, angle, scale = (part.to(device) for part in geometry[:3])
    images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if points is not None:
        points = mirror_points(points.to(device), mirrored, images.shape[3])
    if not geometry.turned:
        return images, points
    height, width = images.shape[2:]
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    zero = torch.zeros_like(cosine)
    # affine_grid's coordinates are in half sides: the ratio of the sides keeps angles true.
    rows = [
        torch.stack([cosine, -sine * height / width, zero], 1),
        torch.stack([sine * width / height, cosine, zero], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    turned = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    if points is not None:
        points = _turned_points(points, angle, scale, (height, width))
    return (turned if images.is_floating_point() else turned.round_().to(images.dtype)), points


def paired_views(
    images: Tensor, points: Tensor | None, geometry: Geometry, occluder: Occluder | None, numbers: Tensor | None
) -> PairedViews:
    """Return both views of images (B, 3, H, W) uint8; without an occluder both are whole.

    Args:
        points: (B, P, 2) in pixels, NaN where unknown, or None.
        numbers: (B, K) what the occluder draws with.
    """
    clean, points = moved(images, points, geometry)
    if occluder is None or numbers is None:
        nothing = torch.zeros(len(images), 1, *images.shape[2:], device=images.device)
        occluded, alpha, fell_back = clean, nothing, torch.zeros(len(images), dtype=torch.bool, device=images.device)
    else:
        occluded, alpha, fell_back = occluder(clean, numbers.to(images.device), points)
    if geometry.relit:
        gain = geometry.gain.to(images.device)
        clean, occluded = lit(clean, gain), lit(occluded, gain)
    return PairedViews(clean, occluded, alpha, fell_back)


def lit(images: Tensor, gain: Tensor) -> Tensor:
    """Return images (B, 3, H, W), 0..255, brighter by a factor (B,); black stays black."""
    bright = (images.float() * gain[:, None, None, None]).clamp_(0, 255)
    return bright if images.is_floating_point() else bright.round_().to(images.dtype)


def mirror_points(points: Tensor, mirrored: Tensor, width: int) -> Tensor:
    """Return points (B, 5 or 68, 2) in the mirror image where `mirrored` (B,) says so: left and right change names
    too.
    """
    places = MIRRORED_5 if points.shape[1] == 5 else MIRRORED_68
    flipped = points[:, list(places)].clone()
    flipped[..., 0] = width - 1 - flipped[..., 0]
    return torch.where(mirrored[:, None, None], flipped, points)


def _turned_points(points: Tensor, angle: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
    """Return where points come to lie: the inverse of what the grid asks for."""
    middle = points.new_tensor([(size[1] - 1) / 2, (size[0] - 1) / 2])
    x, y = (points - middle).unbind(2)
    cosine, sine = (scale * angle.cos())[:, None], (scale * angle.sin())[:, None]
    return torch.stack([cosine * x + sine * y, cosine * y - sine * x], 2) + middle
