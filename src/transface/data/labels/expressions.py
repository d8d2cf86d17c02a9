"""Labels of which one holds: expressions in the words of each data set, genders, any classes; FER+'s rule of the
majority.

Shapes: n images, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transface.data.labels.sides import mirrored_classes

FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
RAF_DB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # its labels 1 to 7
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
GENDERS = ("male", "female")  # UTKFace's 0 and 1
ALIASES = {
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "surprised": "surprise",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "contemptuous": "contempt",
}
UNKNOWN = -1


def expression_word(word: str) -> str:
    """Return the word this package has for an expression: lower case, happiness for happy, anger for angry; others as
    they are.
    """
    plain = word.strip().lower()
    return ALIASES.get(plain, plain)


def majority_expression(votes: Sequence[int]) -> int:
    """Return the place in FERPLUS of the expression most voters saw, or -1 where FER+ leaves the image out.

    Microsoft's rule: single votes are dropped; the winner needs more than half of the remaining votes of all ten
    columns, and must not be one of the last two, "unknown" and "not a face".

    Args:
        votes: ten counts: the eight expressions, unknown, not a face.

    Raises:
        ValueError: for another number of counts, or a negative one.

    Example:
        >>> majority_expression([1, 7, 0, 0, 0, 0, 0, 1, 1, 0])
        1
    """
    counts = np.asarray(votes, dtype=np.int64)
    if counts.shape != (10,) or (counts < 0).any():
        raise ValueError(f"FER+ has ten counts of votes, 0 or more, got {list(votes)}")
    counts = np.where(counts > 1, counts, 0)
    winner = int(counts.argmax())
    return winner if winner < len(FERPLUS) and 2 * counts[winner] > counts.sum() else UNKNOWN


class ClassLabels:
    """One of several classes an image.

    Args:
        classes: (n,) whole numbers, 0 .. C - 1; below 0: unknown.
        names: of the classes.

    Raises:
        ValueError: for classes beyond the names, or names that are not unique.
    """

    def __init__(self, classes: NDArray[Any] | Sequence[int], names: Sequence[str]) -> None:
        self.names = tuple(str(name) for name in names)
        found = np.asarray(classes)
        if found.ndim != 1 or not (np.issubdtype(found.dtype, np.integer) or not len(found)):
            raise ValueError(
                f"classes must be one whole number an image (n,), got {found.dtype} of shape {found.shape}"
            )
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise ValueError(f"classes need at least two names, each its own, got {', '.join(self.names)}")
        if len(found) and found.max() >= len(self.names):
            raise ValueError(
                f"there are {len(self.names)} classes ({', '.join(self.names)}), and an image has class"
                f" {int(found.max())}"
            )
        self.classes = np.where(found < 0, UNKNOWN, found).astype(np.int64)

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Return the classes (B,) at `indices`."""
        found: NDArray[np.int64] = self.classes[np.asarray(indices, dtype=np.int64)]
        return found

    def targets(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the classes (B,) int64; -1 is unknown."""
        return torch.from_numpy(np.array(rows, dtype=np.int64))

    def mirrored(self, targets: Tensor, width: int) -> Tensor:
        """Return the targets of the mirrored images: the same expression and gender, the other side where classes are
        sides.
        """
        return mirrored_classes(targets, self.names)

    def subset(self, indices: Sequence[int] | NDArray[Any]) -> "ClassLabels":
        """Return the classes of some images, in the order given."""
        return ClassLabels(self.classes[np.asarray(indices, dtype=np.int64)], self.names)

    def facts(self) -> Mapping[str, Any]:
        """Return {"num_classes": C, "label_names": [...]}."""
        return {"num_classes": len(self.names), "label_names": list(self.names)}

    def counts(self) -> dict[str, int]:
        """Return how many images each class has."""
        return {name: int((self.classes == place).sum()) for place, name in enumerate(self.names)}
