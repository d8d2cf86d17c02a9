"""Typed batches: what a loader hands to a system's step.

Shapes: B faces. Images are RGB, uint8, as read: normalised on the device.
"""

from typing import NamedTuple

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
