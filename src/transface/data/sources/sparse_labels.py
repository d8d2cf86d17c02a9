"""Renumbers people whose numbers have large gaps (CelebA's, account numbers) from 0, and keeps what each number stands
for.

Shapes: n images.
"""

import logging
from typing import NamedTuple

import numpy as np

from transface.data.recordio.index import IntArray
from transface.told_once import warn_once

log = logging.getLogger(__name__)
FEW = 16  # empty numbers that cost nothing
MOST_EMPTY = 1.0  # empty numbers for each one in use; more, and they are counted anew


class CountedLabels(NamedTuple):
    """Labels (n,) from 0, and the number in the list that each of them stands for; no names where the labels are the
    list's own.
    """

    labels: IntArray
    names: list[str]


def count_anew(labels: IntArray, *, source: object) -> CountedLabels:
    """Return labels as they are, or counted anew in ascending order where more numbers are empty than in use.

    Every number up to the largest would become a class with a centre of its own.
    """
    used = np.unique(labels)
    if not len(used):
        return CountedLabels(labels, [])
    empty = int(used[-1]) + 1 - len(used)
    if empty <= max(MOST_EMPTY * len(used), FEW):
        if empty:
            warn_once(
                log,
                "%s: its labels name %d people and go up to %d: %d of the classes stand for nobody",
                source,
                len(used),
                used[-1],
                empty,
            )
        return CountedLabels(labels, [])
    warn_once(
        log,
        "%s: its labels go up to %d and name %d people: they are counted anew, 0 to %d in ascending order",
        source,
        used[-1],
        len(used),
        len(used) - 1,
    )
    return CountedLabels(np.searchsorted(used, labels).astype(np.int64), [str(number) for number in used.tolist()])
