"""Labels that are one number: ages in years.

Shapes: n images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

OLDEST = 116  # of UTKFace, and of anybody's


class AgeLabels:
    """One age an image.

    Args:
        ages: (n,) years; NaN: unknown.
        oldest: ages above it are refused.

    Raises:
        ValueError: for a negative age, or one above `oldest`.
    """

    def __init__(self, ages: ArrayLike, *, oldest: float = OLDEST) -> None:
        self.ages = np.asarray(ages, dtype=np.float32)
        if self.ages.ndim != 1:
            raise ValueError(f"ages must be one number an image (n,), got {self.ages.shape}")
        known = self.ages[np.isfinite(self.ages)]
        if len(known) and (known.min() < 0 or known.max() > oldest):
            raise ValueError(f"ages lie in 0..{oldest:g} years, got {known.min():g} to {known.max():g}")
        self.ages = np.where(np.isfinite(self.ages), self.ages, np.float32(np.nan))

    def __len__(self) -> int:
        return len(self.ages)

    @property
    def classes(self) -> NDArray[np.int64]:
        """The decade (n,) of every age, for class-balanced orders; unknown ages are a class of their own."""
        return np.where(np.isfinite(self.ages), self.ages // 10, OLDEST // 10 + 1).astype(np.int64)

    def take(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """Return the ages (B,) at `indices`."""
        return self.ages[np.asarray(indices, dtype=np.int64)]

    def targets(self, rows: NDArray[np.float32]) -> Tensor:
        """Return the ages (B,) float32; NaN is unknown."""
        return torch.from_numpy(np.array(rows, dtype=np.float32))

    def mirrored(self, targets: Tensor, width: int) -> Tensor:
        """Return the targets as they are: a mirrored face is as old."""
        return targets

    def subset(self, indices: Sequence[int] | NDArray[Any]) -> "AgeLabels":
        """Return the ages of some images, in the order given."""
        return AgeLabels(self.ages[np.asarray(indices, dtype=np.int64)])

    def facts(self) -> Mapping[str, Any]:
        """Return {}: a network needs to know nothing of the ages."""
        return {}
