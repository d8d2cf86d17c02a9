"""Typed batches: what a loader hands to a system's step, and what a source hands to a loader.

Shapes: B faces. Images are RGB, uint8, as read: normalised on the device.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class FaceBatch(NamedTuple):
    """Faces with their identity.

    Attributes:
        images: (B, 3, 112, 112), uint8, RGB.
        labels: (B,), int64, in 0..num_identities-1.
        keys: (B,), int64, position of each image in its data set (to find an offending one again).
    """

    images: Tensor
    labels: Tensor
    keys: Tensor


class EncodedFaces(NamedTuple):
    """Faces as they were read: `payloads` are B JPEG or PNG images, `labels` (B,) int64."""

    payloads: list[bytes]
    labels: NDArray[np.int64]


class EncodedBatch(NamedTuple):
    """Faces that are decoded where they are used: tensors, so that they cross processes and page-locked memory like any batch.

    Attributes:
        data: the bytes of all images, one after the other, uint8.
        lengths: (B,), int64, how many bytes each has.
        labels, keys: as in FaceBatch.
    """

    data: Tensor
    lengths: Tensor
    labels: Tensor
    keys: Tensor
