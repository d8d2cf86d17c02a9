"""The contract of what is known about images besides their pixels: identities, attributes, ages, landmarks, parsing
masks.

Shapes: n images, B of them in a batch. Rows are NumPy arrays as they are kept; targets are the tensors that a loss is
given.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

# An array or tensor whose first axis is the images, or a NamedTuple of such.
Rows = Any
Targets = Any


@runtime_checkable
class Labels(Protocol):
    """Labels of n images, of one kind."""

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int]) -> Rows:
        """Return the labels at `indices`, first axis B; a missing label is masked (NaN, or a mask beside it), never a
        number that means something.
        """
        ...

    def targets(self, rows: Rows) -> Targets:
        """Return the tensors of some rows, of any dtype and shape with first axis B, or a NamedTuple of several."""
        ...

    def mirrored(self, targets: Targets, width: int) -> Targets:
        """Return the targets of the same images flipped left to right, `width` pixels wide: left and right swap where
        they have names.
        """
        ...

    def facts(self) -> Mapping[str, Any]:
        """Return what a network is built from, e.g. {"num_classes": 7} or {"label_names": [...]}: plain values."""
        ...


def to_tensors(rows: Rows) -> Targets:
    """Return rows as tensors of the same dtype: an array as one tensor, a NamedTuple of arrays as a NamedTuple of
    tensors.
    """
    if isinstance(rows, tuple) and hasattr(rows, "_fields"):
        return type(rows)(*(to_tensors(part) for part in rows))
    return rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))


def mirror_some(labels: Labels, targets: Targets, flipped: Tensor, width: int) -> Targets:
    """Return targets in which those of the images that `flipped` (B,) bool names are mirrored, the others as they
    were.
    """
    return targets_where(flipped, labels.mirrored(targets, width), targets)


def targets_where(chosen: Tensor, changed: Targets, kept: Targets) -> Targets:
    """Return targets that are `changed` for the images that `chosen` (B,) bool names, and `kept` for the others."""
    if isinstance(kept, tuple) and hasattr(kept, "_fields"):
        return type(kept)(*(targets_where(chosen, one, other) for one, other in zip(changed, kept, strict=True)))
    return torch.where(chosen.to(kept.device).reshape(-1, *[1] * (kept.ndim - 1)), changed, kept)
