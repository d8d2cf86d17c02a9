"""Typed batches: what a loader hands to a system's step, and what a source hands to a loader.

Shapes: B faces of H x W pixels. Images are RGB, uint8, as read: normalised on the device.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from transface.data.labels.label import Rows, Targets


class FaceBatch(NamedTuple):
    """Faces with their labels.

    Attributes:
        images: (B, 3, H, W), uint8, RGB.
        labels: a tensor of any dtype and shape whose first axis is B (identities: (B,), int64), or a NamedTuple of
            such.
        keys: (B,), int64, position of each image in its data set (to find an offending one again).
    """

    images: Tensor
    labels: Targets
    keys: Tensor


class EncodedFaces(NamedTuple):
    """Faces as they were read: `payloads` are B encoded images, `labels` their rows: an array with first axis B, or a
    NamedTuple of such.
    """

    payloads: list[bytes]
    labels: Rows


class EncodedBatch(NamedTuple):
    """Faces that are decoded where they are used: tensors, so that they cross processes and page-locked memory like any
    batch.

    Attributes:
        data: the bytes of all images, one after the other, uint8.
        lengths: (B,), int64, how many bytes each has.
        labels, keys: as in FaceBatch.
    """

    data: Tensor
    lengths: Tensor
    labels: Targets
    keys: Tensor


def num_images(batch: Any) -> int:
    """Return how many images a batch holds: those of its first tensor, of a batch of several data sets the sum."""
    if isinstance(batch, Tensor):
        return len(batch)
    if isinstance(batch, Mapping):
        return sum(num_images(part) for part in batch.values())
    if isinstance(batch, EncodedBatch):
        return len(batch.lengths)
    return num_images(getattr(batch, "images", batch[0]))
