"""How a task looks at the network's image: which part of it, at which size, with which normalisation.

Faceptor looks at faces of 112 pixels for identity and attributes and at 512 for landmarks and parsing. Shapes: B
images, H x W pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transface.systems.generalist.tasks import Pixels, Task

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class Look(NamedTuple):
    """What a task sees of an image.

    Attributes:
        side: in pixels of what passes the encoder; None: as large as it is.
        region: left, top, right, bottom as shares of the image's sides; empty: all of it.
        pixels: how the encoder is given it.
    """

    side: int | None = None
    region: tuple[float, ...] = ()
    pixels: Pixels = "half"

    def of(self, images: Tensor) -> Tensor:
        """Return what is seen of images (B, 3, H, W); outside the image all is black (-1)."""
        height, width = int(images.shape[2]), int(images.shape[3])
        if self.region:
            left, top, right, bottom = self.pixels_of(height, width)
            padding = (max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0))
            if any(padding):
                images = F.pad(images, padding, value=-1.0)
            left, top = left + padding[0], top + padding[2]
            images = images[:, :, top : bottom + padding[2], left : right + padding[0]]
        size = (int(images.shape[2]), int(images.shape[3]))
        return images if self.side is None or size == (self.side, self.side) else resized(images, self.side)

    def pixels_of(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the region in whole pixels: left, top, right, bottom."""
        left, top, right, bottom = self.region
        return round(left * width), round(top * height), round(right * width), round(bottom * height)


def looks_of(tasks: Iterable[Task], image_size: tuple[int, int]) -> dict[str, Look]:
    """Return how each task looks at images of a size; a task of that size and no region sees them as they are."""
    found = {}
    for task in tasks:
        same = image_size == (task.image_size, task.image_size) and not task.region
        found[task.name] = Look(None if same else task.image_size, task.region, task.pixels)
    return found


def grouped_looks(looks: Mapping[str, Look], names: Sequence[str]) -> dict[Look, list[str]]:
    """Return the names by how they look, in the order in which looks first come: each group passes the encoder once."""
    groups: dict[Look, list[str]] = {}
    for name in names:
        groups.setdefault(looks[name], []).append(name)
    return groups


def resized(images: Tensor, side: int) -> Tensor:
    """Return images (B, 3, H, W) at side x side: bilinear, averaged over the area where they shrink.

    By two products with fixed matrices, so that every exporter takes it.
    """
    rows, columns = (resampling(int(length), side).to(images) for length in images.shape[2:])
    return rows @ images @ columns.T


def resampling(length: int, side: int) -> Tensor:
    """Return the matrix (side, length) that resamples a line of pixels."""
    each = torch.eye(length)[None, None]  # a picture whose columns are lines with one bright pixel
    return F.interpolate(each, (side, length), mode="bilinear", align_corners=False, antialias=True)[0, 0]


def clip_pixels(images: Tensor) -> Tensor:
    """Return images (B, 3, H, W) in [-1, 1] by CLIP's mean and deviation."""
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_DEVIATION))
    return (images * 0.5 + 0.5 - mean) / deviation
