"""Brings pictures of any size to the size a network takes: refused, resized, letterboxed or cropped about their middle.

Every verb and every loader takes the same words. Shapes: H x W pixels of a picture, sizes are (height, width).
"""

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Fit = Literal["refuse", "resize", "letterbox", "center_crop", "stretch"]
FITS: tuple[str, ...] = get_args(Fit)
SAME_SHAPE = 0.02  # how far the proportions may differ, as a share: what rounding a size to whole pixels does
REMEDY = (
    "fit=letterbox keeps the whole picture and its proportions, fit=center_crop takes its middle, fit=stretch distorts"
    " it. A loose crop is no aligned face: five points a face, or a detector, align it"
)


class ImageSizeError(ValueError):
    """A picture has another size, or other proportions, than `fit` allows."""


class Placement(NamedTuple):
    """Which part of a picture goes where: the source box is resized to `inner` and put at `top`, `left` of the black
    result.
    """

    source_top: int
    source_left: int
    source: tuple[int, int]
    top: int
    left: int
    inner: tuple[int, int]


def check_fit(fit: Any) -> Fit:
    """Return `fit`, which must be one of FITS.

    Raises:
        ValueError: listing the known words.
    """
    if fit not in FITS:
        raise ValueError(f"fit must be one of {', '.join(FITS)}, got {fit!r}")
    return fit  # type: ignore[no-any-return]


def placement(found: tuple[int, int], size: tuple[int, int], *, fit: Fit, name: str = "the image") -> Placement:
    """Return what `fit` does with a picture of size `found`: both sizes are (height, width).

    refuse: only `size` itself. resize: only pictures of the proportions of `size`. letterbox: the whole picture, black
    bars beside it.
    center_crop: the largest box of these proportions about the middle; of a 112x112 face at (112, 96) that is its
    middle columns. stretch: the whole picture, distorted.

    Raises:
        ImageSizeError: naming the picture, its size, and what to do.
    """
    (height, width), (to_height, to_width) = found, size
    if found == size:
        return Placement(0, 0, found, 0, 0, size)
    if fit == "refuse":
        raise ImageSizeError(f"{name} must be {to_height}x{to_width}, got {height}x{width}; {advice(found, size)}")
    if fit == "letterbox":
        scale = min(to_height / height, to_width / width)
        inner = (min(max(round(height * scale), 1), to_height), min(max(round(width * scale), 1), to_width))
        return Placement(0, 0, found, (to_height - inner[0]) // 2, (to_width - inner[1]) // 2, inner)
    if fit == "center_crop":
        box = (
            min(max(round(width * to_height / to_width), 1), height),
            min(max(round(height * to_width / to_height), 1), width),
        )
        return Placement((height - box[0]) // 2, (width - box[1]) // 2, box, 0, 0, size)
    if fit == "resize" and not same_proportions(found, size):
        raise ImageSizeError(
            f"{name} is {height}x{width}, and resizing it to {to_height}x{to_width} would distort it: {REMEDY}"
        )
    return Placement(0, 0, found, 0, 0, size)


def same_proportions(found: tuple[int, int], size: tuple[int, int]) -> bool:
    """Return whether a picture of size `found` can be resized to `size` without distortion but that of rounding."""
    ideal = found[1] * size[0] / size[1]
    return abs(found[0] - ideal) <= max(1.0, SAME_SHAPE * max(found[0], ideal))


def advice(found: tuple[int, int], size: tuple[int, int]) -> str:
    """Return what to do with a picture of size `found` where `size` is wanted."""
    return "fit=resize takes aligned crops of other sizes" if same_proportions(found, size) else REMEDY


def fit_image(image: Tensor, size: tuple[int, int], *, fit: Fit, name: str = "the image") -> Tensor:
    """Return a picture, or several of one size (..., 3, H, W), at `size`; what lies outside the picture is black.

    Args:
        image: uint8, or float in [-1, 1].

    Raises:
        ImageSizeError: as `placement`.
    """
    found = (image.shape[-2], image.shape[-1])
    if found == size:
        return image
    plan = placement(found, size, fit=fit, name=name)
    rows = slice(plan.source_top, plan.source_top + plan.source[0])
    columns = slice(plan.source_left, plan.source_left + plan.source[1])
    inner = resize(image[..., rows, columns], plan.inner)
    if plan.inner == size:
        return inner
    black = 0 if image.dtype == torch.uint8 else -1
    result = inner.new_full((*inner.shape[:-2], *size), black)
    result[..., plan.top : plan.top + plan.inner[0], plan.left : plan.left + plan.inner[1]] = inner
    return result


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return pictures (..., 3, H, W), uint8 or float, at `size`: bilinear, averaged over the area where they shrink."""
    if tuple(image.shape[-2:]) == size:
        return image
    stack = image.reshape(-1, *image.shape[-3:]) if image.ndim != 4 else image
    if stack.dtype == torch.uint8 and stack.device.type == "cpu":
        # The colours of a pixel side by side, as decoders leave them: torch resizes bytes several times as fast so.
        stack = stack.contiguous(memory_format=torch.channels_last)
    working = stack if stack.dtype.is_floating_point or stack.device.type == "cpu" else stack.float()
    resized = F.interpolate(working, size, mode="bilinear", align_corners=False, antialias=True)
    if stack.dtype == torch.uint8 and resized.dtype != torch.uint8:
        resized = resized.round_().clamp_(0, 255).to(torch.uint8)
    return resized.reshape(*image.shape[:-2], *size)


def fit_matrix(found: tuple[int, int], size: tuple[int, int], *, fit: Fit) -> Tensor:
    """Return the map (2, 3), float64, of points (x, y) of a picture to those of the fitted one; the first pixel's
    centre is (0, 0).
    """
    plan = placement(found, size, fit=fit)
    scale_y, scale_x = plan.inner[0] / plan.source[0], plan.inner[1] / plan.source[1]
    shift_x = (0.5 - plan.source_left) * scale_x - 0.5 + plan.left
    shift_y = (0.5 - plan.source_top) * scale_y - 0.5 + plan.top
    return torch.tensor([[scale_x, 0.0, shift_x], [0.0, scale_y, shift_y]], dtype=torch.float64)
