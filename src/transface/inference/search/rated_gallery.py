"""A gallery of rated faces: those of low quality left out, those of one person pooled, the better ones weighing more.

Shapes: N faces, T people.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.inference.folders.embeddings_file import NamedEmbeddings


class Refused(NamedTuple):
    """The embeddings of sufficient quality, and the names of the others."""

    kept: NamedEmbeddings
    names: list[str]


def refuse_low_quality(found: NamedEmbeddings, lowest: float) -> Refused:
    """Return the faces of at least a quality `lowest`, and the names of the others.

    Raises:
        ValueError: if the faces were not rated, or none is good enough.
    """
    if not np.isfinite(lowest):
        raise ValueError(f"min_quality must be a number, got {lowest}")
    if found.quality is None:
        raise ValueError("min_quality needs rated faces, all of one kind: quality=tokens or quality=norm")
    good = np.flatnonzero(found.quality >= lowest)
    if not len(good):
        best = float(found.quality.max()) if len(found.quality) else float("nan")
        raise ValueError(
            f"none of {len(found.names)} faces has a quality of {lowest:g} or more, the best has {best:.4g}"
        )
    return Refused(found.take(good), [str(name) for name in found.names[found.quality < lowest]])


def person_of(name: str) -> str:
    """Return who an image shows by its name: the folder it lies in, or its own name where it lies in none."""
    return name.rpartition("/")[0] or name


def pool_people(found: NamedEmbeddings) -> NamedEmbeddings:
    """Return one template a person (`person_of`): the mean of their unit vectors, weighted by quality where faces are
    rated.

    Named after the face of the highest quality (the first where none is rated); `norms` are the lengths of the means
    before they were made unit vectors, `quality` is the highest.
    """
    people, numbers = np.unique([person_of(str(name)) for name in found.names], return_inverse=True)
    weights = np.ones(len(found.names)) if found.quality is None else np.maximum(found.quality.astype(np.float64), 0)
    sums = np.zeros((len(people), found.vectors.shape[1]))
    np.add.at(sums, numbers, found.vectors.astype(np.float64) * weights[:, None])
    totals = np.bincount(numbers, weights, minlength=len(people))
    means = sums / np.maximum(totals, 1e-30)[:, None]
    lengths = np.linalg.norm(means, axis=1)
    order = np.lexsort((np.arange(len(numbers)), -weights, numbers))
    first: NDArray[np.int64] = order[np.searchsorted(numbers[order], np.arange(len(people)))]
    return found.take(first)._replace(
        vectors=(means / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32), norms=lengths.astype(np.float32)
    )
