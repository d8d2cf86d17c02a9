"""What every face goes through on the device, a batch at a time: to [-1, 1], and mirrored at random.

Shapes: B faces. Images are (B, 3, H, W), RGB.
"""

import torch
from torch import Tensor


def normalise(images: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return uint8 images (B, 3, H, W) as floats: 0 becomes -1, 255 becomes 1. In memory the result lies channel by
    channel.

    Raises:
        TypeError: if they are not uint8: they were normalised before.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}: were they normalised before?")
    return images.to(dtype, memory_format=torch.contiguous_format).div_(127.5).sub_(1)


def normalised(images: Tensor) -> Tensor:
    """Return pictures as float32 in [-1, 1]: uint8 ones normalised, float ones as they are, which must be so
    already.
    """
    return normalise(images) if images.dtype == torch.uint8 else images


def from_levels(images: Tensor) -> Tensor:
    """Return float pictures of levels 0..255 in [-1, 1]; of uint8 ones it is `normalise` that does so."""
    return images / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Return pictures in [-1, 1] as uint8: the opposite of `normalise`."""
    return images.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def draw_mirrored(images: Tensor, generator: torch.Generator | None = None, *, probability: float = 0.5) -> Tensor:
    """Return which images (B,) are to be mirrored, bool, drawn from `generator`, which may be on the CPU while the
    images are elsewhere.
    """
    device = images.device if generator is None else generator.device
    mirrored = torch.rand(len(images), generator=generator, device=device) < probability
    return mirrored.to(images.device, non_blocking=True)


def mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    """Return the images (B, 3, H, W), those of `mirrored` (B,) turned left to right."""
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)
