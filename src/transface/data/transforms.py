"""What every batch goes through on its device: uint8 to [-1, 1], mirroring. Batched, no per-image Python.

Shapes: B faces, images (B, 3, H, W).
"""

import torch
from torch import Tensor


def normalise(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [-1, 1]: x / 127.5 - 1."""
    return images.float().div_(127.5).sub_(1.0)


def random_flip(images: Tensor, *, generator: torch.Generator | None = None, probability: float = 0.5) -> Tensor:
    """Return images of which each is mirrored left to right with the given probability."""
    mirrored = torch.rand(len(images), generator=generator, device=images.device) < probability
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)
