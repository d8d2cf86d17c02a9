"""Faces that are cut out of photographs of any size as they are read, by five points.

Shapes: M images.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import encode_jpeg

from transface.images.alignment import align_image
from transface.images.decoding import decode_image
from transface.images.fit import fit_image
from transface.images.sources import hash_files, read_bytes

THUMBNAIL_QUALITY = 90


class AlignedFaces:
    """Image files and the five points of the face in each; reading one aligns it.

    Args:
        name: of the set.
        paths: M files.
        landmarks: (M, 5, 2) pixels; of a file whose points are NaN the middle is taken.
    """

    def __init__(self, name: str, paths: Sequence[str | Path], landmarks: NDArray[np.float32]) -> None:
        if landmarks.shape != (len(paths), 5, 2):
            raise ValueError(f"landmarks must be ({len(paths)}, 5, 2), got {landmarks.shape}")
        self.name, self.paths, self.landmarks = name, [str(path) for path in paths], landmarks

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the aligned faces; see FaceSource."""
        return torch.cat([self._aligned(index, size) for index in indices])

    def _aligned(self, index: int, size: tuple[int, int]) -> Tensor:
        path = self.paths[index]
        image = decode_image(read_bytes(path), name=path)
        if np.isnan(self.landmarks[index]).any():
            return fit_image(image, size, fit="center_crop", name=path)[None]
        try:
            return align_image(image, torch.from_numpy(self.landmarks[index]), size=size)
        except ValueError as error:
            raise ValueError(f"{path} cannot be aligned: {error}") from error

    def thumbnail(self, index: int) -> bytes:
        """Return the aligned face as JPEG."""
        return encode_jpeg(self._aligned(index, (112, 112))[0].contiguous(), THUMBNAIL_QUALITY).numpy().tobytes()

    def fingerprint(self) -> str:
        """Return a hash that changes with the files or the landmarks."""
        return hashlib.sha256(
            hash_files(self.paths).encode() + np.ascontiguousarray(self.landmarks).tobytes()
        ).hexdigest()
