"""A labelled data set as a source of images to evaluate on, and its truth beside it.

Shapes: M images, B of them in a batch.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transface.data.sources.labelled import LabelledImages
from transface.images.decoding import decode_images


class LabelledSource:
    """The images of a labelled data set, read a batch at a time.

    Args:
        name: of the set: rows of tables, files of results.
        dataset: images with labels of one kind.
    """

    def __init__(self, name: str, dataset: LabelledImages) -> None:
        self.name = name
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the images at `indices`, (B, 3, H, W) uint8.

        Raises:
            ValueError: naming one that cannot be decoded or has another size.
        """
        names = [self.dataset.name(int(index)) for index in indices]
        encoded = [self.dataset.encoded(int(index)) for index in indices]
        return decode_images(encoded, size=size, names=names, fit=self.dataset.fit)

    def truth(self) -> NDArray[np.generic]:
        """Return the targets of all images, first axis M, of labels that are one array."""
        found: NDArray[np.generic] = self.dataset.targets(range(len(self.dataset))).numpy()
        return found

    def thumbnail(self, index: int) -> bytes:
        """Return one image as it is encoded."""
        return self.dataset.encoded(index)

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes if any image, its name or their order does."""
        digest = hashlib.sha256()
        for index in range(len(self.dataset)):
            digest.update(f"{self.dataset.name(index)}\0".encode("utf-8", "surrogateescape"))
            digest.update(hashlib.sha256(self.dataset.encoded(index)).digest())
        return digest.hexdigest()

    def samples_hash(self, truth: NDArray[np.generic]) -> str:
        """Return the hash by which results on the same images with the same truth are known."""
        digest = hashlib.sha256(np.ascontiguousarray(truth).tobytes())
        for index in range(len(self.dataset)):
            digest.update(f"{self.dataset.name(index)}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
