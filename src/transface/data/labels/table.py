"""Labels of several kinds of the same images, by name: age and gender and expression of one face.

Shapes: n images, B of them in a batch.
"""

import functools
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transface.data.labels.label import Labels


class LabelTable:
    """Several labels of each image; rows and targets are NamedTuples with the names as fields.

    Args:
        columns: by name, labels of as many images each.

    Raises:
        ValueError: for no column, or columns of other lengths.
    """

    def __init__(self, columns: Mapping[str, Labels]) -> None:
        if len({len(labels) for labels in columns.values()}) != 1:
            raise ValueError(
                "each name needs labels of the same images, got"
                f" { ({name: len(own) for name, own in columns.items()}) }"
            )
        self.columns = dict(columns)
        self._of_names = _row_type(tuple(self.columns))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def classes(self) -> Any:
        """The classes of the first column, for class-balanced orders; None where it has none."""
        return getattr(next(iter(self.columns.values())), "classes", None)

    def take(self, indices: Sequence[int]) -> Any:
        """Return the labels at `indices`, a field a name."""
        return self._of_names(*(own.take(indices) for own in self.columns.values()))

    def targets(self, rows: Any) -> Any:
        """Return the tensors of some rows, a field a name."""
        return self._of_names(*(own.targets(part) for own, part in zip(self.columns.values(), rows, strict=True)))

    def mirrored(self, targets: Any, width: int) -> Any:
        """Return the targets of the mirrored images."""
        return self._of_names(
            *(own.mirrored(part, width) for own, part in zip(self.columns.values(), targets, strict=True))
        )

    def facts(self) -> Mapping[str, Any]:
        """Return {"outputs": {name: ...}}: what a network answers by each name."""
        return {"outputs": {name: _output_of(own) for name, own in self.columns.items()}}

    def known(self) -> np.ndarray:
        """Return how many of the columns each image (n,) has a label in."""
        total = np.zeros(len(self), dtype=np.int64)
        for own in self.columns.values():
            values = getattr(own, "ages", None)
            total += np.isfinite(values) if values is not None else np.asarray(own.classes) >= 0  # type: ignore
        return total


def _output_of(labels: Any) -> dict[str, Any]:
    names = getattr(labels, "names", None)
    return {"kind": "number", "unit": "years"} if names is None else {"kind": "one_of", "names": list(names)}


@functools.cache
def _row_type(names: tuple[str, ...]) -> Any:
    kind = namedtuple("LabelRow", names)  # type: ignore[misc]
    # Made here and not at the top of a module: pickle, which carries batches out of loader workers, must be told how to
    # make it again.
    setattr(kind, "__reduce__", _reduced)  # noqa: B010
    return kind


def _reduced(row: Any) -> Any:
    return _row, (row._fields, tuple(row))


def _row(names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return _row_type(names)(*values)
