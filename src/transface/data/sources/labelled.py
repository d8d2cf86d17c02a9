"""Joins images with what is known about them: any image source and labels of any kind make a data set to train or
evaluate on.

Shapes: n images, B of them in a batch.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from transface.data.batches import EncodedFaces, FaceBatch
from transface.data.labels.label import Labels
from transface.data.loaders import face_batch


class ImageSource(Protocol):
    """n images that are read by their place, without labels.

    Attributes:
        image_size: (height, width) of every image.
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


class JoinedImages:
    """Several labelled sets of one kind as one: images lie one set after the other.

    Args:
        sets: at least one, of one image size, whose targets have the same form and meaning.

    Raises:
        ValueError: for no set, other image sizes, or labels whose facts differ (other names, another order).
    """

    def __init__(self, sets: Sequence[LabelledImages]) -> None:
        if not sets:
            raise ValueError("joining needs at least one data set")
        if len(sizes := {one.image_size for one in sets}) > 1:
            raise ValueError(f"the images of all sets must have one size, got {sorted(sizes)}")
        facts = [dict(one.labels.facts()) for one in sets]
        if any(other != facts[0] for other in facts):
            raise ValueError(
                f"sets can be joined where their labels mean the same: {facts[0]} is not"
                f" {next(f for f in facts if f != facts[0])}"
            )
        self.sets = list(sets)
        self.image_size = sets[0].image_size
        self.sizes = [len(one) for one in sets]
        self._ends = np.cumsum(self.sizes)

    @property
    def labels(self) -> Labels:
        """The labels of the first set: what all of them mean."""
        return self.sets[0].labels

    @property
    def classes(self) -> np.ndarray | None:
        """The class of every image, None where one of the sets has none."""
        found = [one.classes for one in self.sets]
        return (
            None
            if any(part is None for part in found)
            else np.concatenate([part for part in found if part is not None])
        )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _find(self, index: int) -> tuple[LabelledImages, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"no image {index} among {len(self)}")
        place = int(np.searchsorted(self._ends, index, side="right"))
        return self.sets[place], index - int(self._ends[place]) + self.sizes[place]

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        own, place = self._find(index)
        return own.name(place)

    def encoded(self, index: int) -> bytes:
        """Return the encoded bytes of the image at `index`."""
        own, place = self._find(index)
        return own.encoded(place)

    def read_encoded(self, indices: Sequence[int]) -> EncodedFaces:
        """Return the images at `indices`, undecoded, with their targets."""
        found = [self._find(int(index)) for index in indices]
        return EncodedFaces(
            [own.encoded(place) for own, place in found], _stacked([own.targets([place]) for own, place in found])
        )

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, decoded, with their targets; keys count through all sets."""
        return face_batch(self.read_encoded(indices), indices=indices, source=self)


def _stacked(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(_stacked(same) for same in zip(*parts, strict=True)))
    return torch.cat(list(parts))
