"""Images with attributes, their people and their splits, whatever list they were read from.

Shapes: n images, A attributes.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from transface.data.labels.attributes import AttributeLabels
from transface.data.lists.repeated_names import first_of_each
from transface.seeds import seed_from
from transface.told_once import warn_once

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test", "all", "trainval"]
TRAIN, VAL, TEST = 0, 1, 2
FAR_RARER = 10  # times as many -1 as 0: more likely 0 stands for what is not known, or for another column
SPLIT_NUMBERS = {"train": TRAIN, "val": VAL, "test": TEST}


class AttributeSet(NamedTuple):
    """What a list of images says.

    Attributes:
        root: the folder that the paths are relative to.
        paths: n.
        labels: of n images.
        splits: (n,) int8: 0 train, 1 val, 2 test.
        identities: (n,) int64 number of the person, or None where nobody says who it is.
    """

    root: Path
    paths: list[str]
    labels: AttributeLabels
    splits: NDArray[np.int8]
    identities: NDArray[np.int64] | None

    def rows(self, split: Split) -> NDArray[np.int64]:
        """Return the places of a split's images, in the list's order.

        Raises:
            ValueError: for another word, or an empty split.
        """
        if split not in get_args(Split):
            raise ValueError(f"split must be train, val, test, trainval or all, got {split!r}")
        if split == "all":
            return np.arange(len(self.paths))
        numbers = [TRAIN, VAL] if split == "trainval" else [SPLIT_NUMBERS[split]]
        found = np.flatnonzero(np.isin(self.splits, numbers))
        if not len(found):
            raise ValueError(f"{self.root} has no images in its split {split!r}: {self.describe()}")
        return found

    def taken(self, rows: NDArray[np.int64]) -> "AttributeSet":
        """Return the images at some places, in the order given."""
        return self._replace(
            paths=[self.paths[row] for row in rows.tolist()],
            labels=self.labels.subset(rows),
            splits=self.splits[rows],
            identities=None if self.identities is None else self.identities[rows],
        )

    def describe(self) -> str:
        """Return how many images each split has."""
        return ", ".join(f"{int((self.splits == number).sum())} {name}" for name, number in SPLIT_NUMBERS.items())


def put_val_aside(given: AttributeSet, share: float, *, seed: int = 0) -> AttributeSet:
    """Return the set with a share of the people of its training split in val: whole people, so that nobody is in both.

    Which ones follows from the seed and the number of the person alone. Without identities every image counts as a
    person. A share of 0 puts nobody aside.

    Raises:
        ValueError: for a share outside 0..1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"val_identity_share must be at least 0 and below 1, got {share}")
    people = np.arange(len(given.paths)) if given.identities is None else given.identities
    training = np.unique(people[given.splits == TRAIN])
    count = round(share * len(training))
    if not count:
        return given
    order = np.argsort([seed_from("val", seed, int(person)) for person in training], kind="stable")
    splits = given.splits.copy()
    splits[(given.splits == TRAIN) & np.isin(people, training[order[:count]])] = VAL
    return given._replace(splits=splits)


def once_each(given: AttributeSet, *, where: object) -> AttributeSet:
    """Return the set with each image once.

    Raises:
        ValueError: for an image of which `where` says two things: other labels, another split or person.
    """
    said = [given.labels.values, given.labels.known, given.splits]
    kept = first_of_each(given.paths, said if given.identities is None else [*said, given.identities], where=where)
    return given if len(kept) == len(given.paths) else given.taken(kept)


def binary_labels(
    values: NDArray[Any], names: Sequence[str], *, where: object, unknown: int | None = None, rarer: bool = False
) -> AttributeLabels:
    """Return the labels of a table of -1, 0 and 1, (n, A): 1 is yes; -1 is no where 0 does not occur, 0 is no where -1
    does not.

    Args:
        where: what an error calls the table.
        unknown: where all three occur: which of -1 and 0 means that nobody knows. Default -1.
        rarer: without `unknown`, it is the rarer of the two; else -1, which is refused where 0 is far rarer.

    Raises:
        ValueError: for another value, naming its row and column; for a table that may be read in two ways.
    """
    if unknown not in (None, -1, 0):
        raise ValueError(f"unknown must be -1 or 0, got {unknown}")
    if (wrong := np.argwhere((values != -1) & (values != 0) & (values != 1))).size:
        row, column = (int(place) for place in wrong[0])
        raise ValueError(f"{where}: attributes are -1, 0 or 1; {names[column]} of image {row} is {values[row, column]}")
    negatives, zeros = int((values == -1).sum()), int((values == 0).sum())
    if unknown is None and negatives and zeros:
        unknown = 0 if rarer and zeros < negatives else -1
        if unknown == -1 and zeros * FAR_RARER < negatives:
            column = int(np.argwhere(values == 0)[0][1])
            raise ValueError(
                f"{where}: 0 occurs {zeros} times ({names[column]} the first) beside {negatives} times -1, so either"
                " may mean that nobody knows: unknown=0 or unknown=-1 says which, labels=[...] leaves columns out"
            )
        warn_once(
            logger,
            "%s: -1, 0 and 1 all occur: %d labels of %d are taken as not known, where it says %d",
            where,
            negatives if unknown == -1 else zeros,
            values.size,
            unknown,
        )
    known = np.ones(values.shape, dtype=bool) if unknown is None else values != unknown
    return AttributeLabels((values == 1).astype(np.uint8), names, known=known)
