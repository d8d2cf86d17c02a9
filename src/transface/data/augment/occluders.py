"""What hides a part of a face: the contract of occluders, half black-out, mixtures, and the numbers they are drawn
from.

An occluder is a function of images, points and uniform numbers: the same numbers hide the same pixels. In training the
numbers come from a generator, in validation from the sample's name, so that a test image is hidden alike in every run,
batch and process.
Shapes: B faces of H x W pixels, P points (5 or 68), K numbers an occluder needs for each face. Images are RGB, uint8 or
float in 0..255.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.images.alignment import FACE_SIZE, TEMPLATE

Half = Literal["upper", "lower"]
Fill = Literal["black", "mean", "noise", "blur"]


class Occluded(NamedTuple):
    """Faces with a part hidden.

    Attributes:
        images: (B, 3, H, W), of the dtype they came in; the input is not changed.
        alpha: (B, 1, H, W) float in 0..1: how much of each pixel is covered; where it is 0 the pixel is as it was.
        fell_back: (B,) bool: faces without usable points, of which the half was blacked out instead.
    """

    images: Tensor
    alpha: Tensor
    fell_back: Tensor


@runtime_checkable
class Occluder(Protocol):
    """Hides a part of every face of a batch.

    Attributes:
        name: tells occluders apart in seeds, results and reports.
        num_numbers: K.
    """

    name: str
    num_numbers: int

    def __call__(self, images: Tensor, numbers: Tensor, points: Tensor | None = None) -> Occluded:
        """Return images (B, 3, H, W) occluded; numbers (B, K) in [0, 1); points (B, P, 2) in pixels, NaN where unknown,
        or None.
        """
        ...


def black_out(images: Tensor, half: Half, *, fill: float = 0.0) -> Tensor:
    """Return a copy of images (..., H, W) whose upper or lower half of the rows is `fill`.

    "upper" hides the rows 0 .. H//2 - 1 (a VR headset), "lower" the rows H//2 .. H - 1 (a surgical mask): together they
    hide every row once, and the lower half of an odd height has one row more. Georgescu & Ionescu, arXiv 2008.01003.

    Raises:
        ValueError: for another half, or images without rows and columns.

    Example:
        >>> black_out(torch.ones(1, 4, 1), "upper")[0, :, 0].tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    rows = hidden_rows(half, _height(images))
    hidden = images.clone()
    hidden[..., rows, :] = fill
    return hidden


def hidden_rows(half: Half, height: int) -> slice:
    """Return the rows that a half hides of images of some height."""
    if half not in get_args(Half):
        raise ValueError(f"half must be 'upper' or 'lower', got {half!r}")
    return slice(0, height // 2) if half == "upper" else slice(height // 2, height)


def hidden_share(alpha: Tensor) -> Tensor:
    """Return (B,) the share of each image's pixels that is more covered than not."""
    return (alpha > 0.5).flatten(1).float().mean(1)


def random_numbers(occluder: Occluder, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Return (count, K) uniform numbers of a generator, on its device."""
    device = "cpu" if generator is None else generator.device
    return torch.rand(count, occluder.num_numbers, generator=generator, device=device)


def numbers_of_samples(occluder: Occluder, samples: Sequence[str], *, seed: int = 0) -> Tensor:
    """Return (B, K) numbers that follow from each sample's name, the occluder's name and the seed alone."""
    found = np.empty((len(samples), occluder.num_numbers), dtype=np.float32)
    for row, sample in zip(found, samples, strict=True):
        digest = hashlib.blake2b(
            f"{seed}\0{occluder.name}\0{sample}".encode("utf-8", "surrogateescape"), digest_size=16
        ).digest()
        row[:] = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little"))).random(
            len(row), dtype=np.float32
        )
    return torch.from_numpy(found)


class HalfBlackOut:
    """Hides half of every face, as the papers do.

    Args:
        half: "upper" or "lower".
        fill: "black"; "mean" colour of the face; "noise"; "blur": the face itself, coarse.
        split: where the image is cut, as shares of its height between which each face draws; (0.5, 0.5) is exactly
            half.
        align: "none" cuts the image; "landmark" cuts at the middle between eyes and mouth, where points are known.

    Raises:
        ValueError: for a value that is none of these.
    """

    def __init__(
        self,
        half: Half,
        *,
        fill: Fill = "black",
        split: Sequence[float] = (0.5, 0.5),
        align: Literal["none", "landmark"] = "none",
    ) -> None:
        hidden_rows(half, 2)
        if fill not in get_args(Fill):
            raise ValueError(f"fill must be one of {', '.join(get_args(Fill))}, got {fill!r}")
        if len(split) != 2 or not 0 < split[0] <= split[1] < 1:
            raise ValueError(f"split must be two shares of the height, 0 < low <= high < 1, got {tuple(split)}")
        if align not in ("none", "landmark"):
            raise ValueError(f"align must be 'none' or 'landmark', got {align!r}")
        self.half = half
        self.fill = fill
        self.split = (float(split[0]), float(split[1]))
        self.align = align
        exact = fill == "black" and self.split == (0.5, 0.5) and align == "none"
        self.name = f"half_{half}" if exact else f"half_{half}_{fill}_{self.split[0]:g}-{self.split[1]:g}_{align}"
        self.num_numbers = 2

    def __call__(self, images: Tensor, numbers: Tensor, points: Tensor | None = None) -> Occluded:
        height = _height(images)
        known = usable_points(images, points)
        alpha = self._alpha(numbers.to(images.device), height, points, known)
        alpha = alpha[:, None, :, None].expand(-1, 1, -1, images.shape[3])
        hidden = torch.where(alpha.bool(), self._filling(images, numbers), images)
        fell_back = ~known if self.align == "landmark" else torch.zeros_like(known)
        return Occluded(hidden, alpha, fell_back)

    def _alpha(self, numbers: Tensor, height: int, points: Tensor | None, known: Tensor) -> Tensor:
        """Return (B, H) 1 where a row is hidden."""
        low, high = self.split
        cut = torch.floor(height * (low + (high - low) * numbers[:, 0]))
        if self.align == "landmark" and points is not None:
            eyes, mouth = eyes_and_mouth(points.to(numbers))
            middle = (eyes.mean(1)[:, 1] + mouth.mean(1)[:, 1]) / 2 + height * (cut / height - 0.5)
            cut = torch.where(known, middle.clamp(1, height - 1).floor(), cut)
        upper = torch.arange(height, device=numbers.device) < cut[:, None]
        return (upper if self.half == "upper" else ~upper).float()

    def _filling(self, images: Tensor, numbers: Tensor) -> Tensor:
        if self.fill == "black":
            return torch.zeros((), dtype=images.dtype, device=images.device)
        if self.fill == "mean":
            filling = images.float().mean((2, 3), keepdim=True)
        elif self.fill == "noise":
            filling = 255 * _noise(images.shape, numbers[:, 1].to(images.device))
        else:
            coarse = F.adaptive_avg_pool2d(images.float(), 4)
            filling = F.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False)
        return filling.to(images.dtype)


class Mixture:
    """Each face draws one of several occluders.

    Args:
        occluders: by name; values are occluders.
        shares: of each name; None: equal. They are divided by their sum.

    Raises:
        ValueError: for no occluder, shares of other names, or shares that are negative or all zero.
    """

    def __init__(self, occluders: Mapping[str, Occluder], shares: Mapping[str, float] | None = None) -> None:
        if not occluders:
            raise ValueError("a mixture needs at least one occluder")
        given = dict.fromkeys(occluders, 1.0) if shares is None else dict(shares)
        if set(given) != set(occluders) or min(given.values()) < 0 or sum(given.values()) <= 0:
            raise ValueError(
                f"shares must give each of {', '.join(occluders)} a number, 0 or more and not all 0, got {given}"
            )
        self.occluders = dict(occluders)
        weights = torch.tensor([float(given[name]) for name in occluders], dtype=torch.float64)
        self.ends = (weights.cumsum(0) / weights.sum()).float()
        self.name = "mixture_" + "_".join(f"{name}-{given[name]:g}" for name in occluders)
        self.num_numbers = 1 + max(occluder.num_numbers for occluder in occluders.values())

    def __call__(self, images: Tensor, numbers: Tensor, points: Tensor | None = None) -> Occluded:
        chosen = (numbers[:, :1].cpu() >= self.ends[:-1]).sum(1)
        hidden = images.clone()
        alpha = torch.zeros(len(images), 1, *images.shape[2:], device=images.device)
        fell_back = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for place, occluder in enumerate(self.occluders.values()):
            rows = (chosen == place).nonzero()[:, 0].to(images.device)
            if len(rows):
                own = numbers.to(images.device)[rows, 1 : 1 + occluder.num_numbers]
                part = occluder(images[rows], own, None if points is None else points.to(images.device)[rows])
                hidden[rows], alpha[rows], fell_back[rows] = part
        return Occluded(hidden, alpha, fell_back)


class OccluderAugmentation(nn.Module):
    """An occluder as a change of training images: hides a part of some of the faces of any run.

    Args of the constructor:
        occluder: what to draw.
        probability: share of the faces it is drawn on.
        points: where eyes, nose and mouth lie in every image, (5, 2) as shares of width and height; None: aligned to
            the template.

    Calling it with images (B, 3, H, W), float in [-1, 1], and a generator returns images of that form.
    """

    def __init__(
        self, occluder: Occluder, *, probability: float = 0.5, points: Sequence[Sequence[float]] | None = None
    ) -> None:
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in 0..1, got {probability}")
        self.occluder = occluder
        self.probability = probability
        self.points = template_shares() if points is None else torch.tensor(points, dtype=torch.float32)
        if self.points.shape != (5, 2):
            raise ValueError(f"points must be five pairs of shares (5, 2), got {tuple(self.points.shape)}")

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        device = "cpu" if generator is None else generator.device
        wanted = torch.rand(len(images), generator=generator, device=device) < self.probability
        numbers = random_numbers(self.occluder, len(images), generator)
        points = points_in_pixels(self.points, images.shape[2:]).to(images.device).expand(len(images), -1, -1)
        hidden = self.occluder((images.float() + 1) * 127.5, numbers.to(images.device), points)
        changed = hidden.images / 127.5 - 1
        covered = (hidden.alpha > 0) & wanted.to(images.device)[:, None, None, None]
        return torch.where(covered, changed.to(images.dtype), images)


def template_shares() -> Tensor:
    """Return (5, 2) where the points of an aligned face lie, as shares of its width and height."""
    return (torch.tensor(TEMPLATE) + 0.5) / FACE_SIZE


def points_in_pixels(shares: Tensor, size: Sequence[int]) -> Tensor:
    """Return points (..., 2) in pixels of an image of `size` (height, width), given as shares of width and height."""
    return shares * shares.new_tensor([size[1], size[0]]) - 0.5


def eyes_and_mouth(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres of both eyes (B, 2, 2) and the corners of the mouth (B, 2, 2), image-left first, of 5 or 68
    points (B, P, 2).

    Raises:
        ValueError: for another number of points.
    """
    if points.shape[1] == 5:
        return points[:, :2], points[:, 3:5]
    if points.shape[1] == 68:
        return torch.stack([points[:, 36:42].mean(1), points[:, 42:48].mean(1)], 1), points[:, [48, 54]]
    raise ValueError(f"points must be 5 or 68 a face (B, P, 2), got {tuple(points.shape)}")


def usable_points(images: Tensor, points: Tensor | None) -> Tensor:
    """Return (B,) bool: finite points, eyes apart from each other and left of right, mouth below them."""
    if points is None:
        return torch.zeros(len(images), dtype=torch.bool, device=images.device)
    if points.ndim != 3 or len(points) != len(images) or points.shape[2] != 2:
        raise ValueError(
            f"points must be ({len(images)}, 5 or 68, 2), one row of points an image, got {tuple(points.shape)}"
        )
    eyes, mouth = eyes_and_mouth(points.to(images.device))
    along, down = eyes[:, 1] - eyes[:, 0], mouth.mean(1) - eyes.mean(1)
    # The cross product is positive where the mouth lies below the line of the eyes, whatever the roll.
    turned = along[:, 0] * down[:, 1] - along[:, 1] * down[:, 0]
    finite = points.to(images.device).isfinite().flatten(1).all(1)
    return finite & (along.norm(dim=1) > 3) & (down.norm(dim=1) > 3) & (turned > 0)


def with_fallback(images: Tensor, drawn: Tensor, alpha: Tensor, known: Tensor, half: Half) -> Occluded:
    """Return what was drawn where points were known, and the half blacked out elsewhere."""
    rows = torch.zeros(images.shape[2], dtype=torch.bool, device=images.device)
    rows[hidden_rows(half, images.shape[2])] = True
    half_alpha = rows.float()[None, None, :, None].expand_as(alpha)
    there = known[:, None, None, None]
    fallback = torch.where(half_alpha.bool(), torch.zeros((), dtype=images.dtype, device=images.device), images)
    return Occluded(torch.where(there, drawn, fallback), torch.where(there, alpha, half_alpha), ~known)


def _height(images: Tensor) -> int:
    if not isinstance(images, Tensor) or images.ndim < 2:
        shape = getattr(images, "shape", type(images).__name__)
        raise ValueError(f"images must be a tensor (..., H, W), rows before columns, got {shape}")
    return images.shape[-2]


def _noise(shape: Sequence[int], numbers: Tensor) -> Tensor:
    """Return (B, 3, H, W) numbers in 0..1 without visible order, which follow from one number a face."""
    count = int(np.prod(shape[1:]))
    places = torch.arange(1, count + 1, device=numbers.device, dtype=torch.float64)
    return (
        ((places + 1000 * numbers.double()[:, None]).sin() * 43758.5453)
        .frac()
        .abs()
        .float()
        .reshape(len(numbers), *shape[1:])
    )


def name_of(occluder: Any) -> str:
    """Return what a report calls an occluder; "none" where there is none."""
    return "none" if occluder is None else str(occluder.name)
