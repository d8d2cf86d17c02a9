"""Joins images with what is known about them: any image source and labels of any kind make a data set to train or
evaluate on.

Shapes: n images, B of them in a batch.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from transface.data.batches import EncodedFaces, FaceBatch
from transface.data.labels.label import Labels
from transface.data.loaders import face_batch, fit_of
from transface.images.fit import Fit


class ImageSource(Protocol):
    """n images that are read by their place, without labels.

    Attributes:
        image_size: (height, width) of every image.
        fit: what happens to images of another size; without it they are refused.
    """

    image_size: tuple[int, int]

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        ...

    def encoded(self, index: int) -> bytes:
        """Return the encoded bytes of the image at `index`."""
        ...


class LabelledImages:
    """n images with labels of one kind; a map-style data set that reads and decodes a batch in one call.

    Args:
        images: where the pixels come from.
        labels: what is known about each, in the same order.
        rows: which images to take, in which order (a split); None: all.

    Raises:
        ValueError: if there are not as many labels as images, no images are left, or a row is of no image.
    """

    def __init__(self, images: ImageSource, labels: Labels, *, rows: Sequence[int] | np.ndarray | None = None) -> None:
        if len(images) != len(labels):
            raise ValueError(f"each image needs a label: {len(images)} images, {len(labels)} labels")
        self.rows = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=np.int64)
        if not len(self.rows):
            raise ValueError("no images are left: the split is empty")
        if self.rows.min() < 0 or self.rows.max() >= len(images):
            raise ValueError(f"the split names image {int(self.rows.max())}, and there are {len(images)}")
        self.images = images
        self.labels = labels

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of every image."""
        return self.images.image_size

    @property
    def fit(self) -> Fit:
        """What happens to images of another size."""
        return fit_of(self.images)

    @property
    def classes(self) -> np.ndarray | None:
        """The class (n,) of every image for class-balanced orders, None where the labels are no classes."""
        found = getattr(self.labels, "classes", None)
        return None if found is None else np.asarray(found)[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        return self.images.name(int(self.rows[index]))

    def encoded(self, index: int) -> bytes:
        """Return the encoded bytes of the image at `index`."""
        return self.images.encoded(int(self.rows[index]))

    def targets(self, indices: Sequence[int]) -> Any:
        """Return the targets of the images at `indices`, first axis B."""
        return self.labels.targets(self.labels.take(self.rows[np.asarray(indices, dtype=np.int64)].tolist()))

    def read_encoded(self, indices: Sequence[int]) -> EncodedFaces:
        """Return the images at `indices`, undecoded, with their targets."""
        return EncodedFaces([self.encoded(index) for index in indices], self.targets(indices))

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, decoded, with their targets."""
        return face_batch(self.read_encoded(indices), indices=indices, source=self)
