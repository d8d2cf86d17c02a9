"""Images that a list names more than once: one of which it says the same again counts once, and it is told; one of
which it says two things is refused.

Shapes: n names.
"""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from transface.told_once import warn_once

logger = logging.getLogger(__name__)


class Names(Protocol):
    """n names: a list, or a table of paths as bytes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> str: ...


def name_hash(name: str) -> int:
    """Return a number (int64) of a name, the same for all ways to write one path; of another process it is another."""
    return hash(os.path.normpath(name))


def first_of_each(
    names: Names,
    said: Sequence[NDArray[Any]],
    *,
    where: object,
    hashes: NDArray[np.int64] | None = None,
    words: Callable[[int], str] | None = None,
) -> NDArray[np.int64]:
    """Return the places of the names, of those that come again the first, and tell how many come again.

    Args:
        names: n; `./a.jpg` and `a.jpg` are one.
        said: columns (n, ...): what the list says of each name.
        where: what an error calls the list.
        hashes: (n,) of name_hash, where they are at hand.
        words: what the list says of the name at a place, for the error.

    Raises:
        ValueError: for a name of which the list says two things.
    """
    if hashes is None:
        hashes = np.fromiter((name_hash(names[place]) for place in range(len(names))), np.int64, len(names))
    order = np.argsort(hashes, kind="stable")
    alike = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    again: list[tuple[int, int]] = []
    contradicted: list[tuple[int, int]] = []
    for before, place in zip(order[alike].tolist(), order[alike + 1].tolist(), strict=True):
        if os.path.normpath(names[before]) == os.path.normpath(names[place]):
            same = all(_are_same(column[before], column[place]) for column in said)
            (again if same else contradicted).append((place, before))
    if contradicted:
        place, before = min(contradicted)
        things = "and says two things of it" if words is None else f"as {words(before)} and as {words(place)}"
        raise ValueError(f"{where} names {names[place]} twice, {things}: keep one of the lines")
    if again:
        first = names[min(again)[0]]
        warn_once(logger, "%s names %d images again, such as %s: each counts once", where, len(again), first)
    return np.delete(np.arange(len(names)), [place for place, _ in again])


def _are_same(one: Any, other: Any) -> bool:
    return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")
