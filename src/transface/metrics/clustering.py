"""How well clusters of faces are people: pairwise and BCubed precision, recall and F.

Label -1 is noise: such faces count as clusters of one. Shapes: n faces.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ClusterScores(NamedTuple):
    """Precision, recall and their harmonic mean; NaN where nothing is to be counted."""

    precision: float
    recall: float
    f: float


class _Counts(NamedTuple):
    both: NDArray[np.int64]  # faces of each pair of person and cluster that occurs
    people: NDArray[np.int64]  # faces of that pair's person
    clusters: NDArray[np.int64]  # faces of that pair's cluster
    per_person: NDArray[np.int64]
    per_cluster: NDArray[np.int64]


def _counts(people: NDArray[np.int64], clusters: NDArray[np.int64]) -> _Counts:
    people, clusters = np.asarray(people), np.asarray(clusters).copy()
    if people.ndim != 1 or people.shape != clusters.shape or not len(people):
        raise ValueError(
            f"people and clusters must be (n,) of at least one face, got {people.shape} and {clusters.shape}"
        )
    noise = np.flatnonzero(clusters < 0)
    clusters[noise] = clusters.max() + 1 + np.arange(len(noise))
    _, first = np.unique(people, return_inverse=True)
    _, second = np.unique(clusters, return_inverse=True)
    pairs, both = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    per_person, per_cluster = np.bincount(first), np.bincount(second)
    return _Counts(both, per_person[pairs[0]], per_cluster[pairs[1]], per_person, per_cluster)


def _scores(precision: float, recall: float) -> ClusterScores:
    total = precision + recall
    return ClusterScores(
        precision, recall, 2 * precision * recall / total if total > 0 else (0.0 if total == 0 else float("nan"))
    )


def pairwise_scores(people: NDArray[np.int64], clusters: NDArray[np.int64]) -> ClusterScores:
    """Return which share of pairs within clusters is of one person (precision), and of pairs of one person within
    clusters (recall).

    Raises:
        ValueError: for no faces, or arrays that do not go together.
    """
    found = _counts(people, clusters)
    shared, total = float((found.both**2).sum()), float(len(people))
    in_clusters, of_people = float((found.per_cluster**2).sum()) - total, float((found.per_person**2).sum()) - total
    precision = (shared - total) / in_clusters if in_clusters else float("nan")
    return _scores(precision, (shared - total) / of_people if of_people else float("nan"))


def bcubed_scores(people: NDArray[np.int64], clusters: NDArray[np.int64]) -> ClusterScores:
    """Return the BCubed scores: precision and recall of each face's cluster and person, averaged over faces.

    Raises:
        ValueError: as `pairwise_scores`.
    """
    found, total = _counts(people, clusters), len(people)
    return _scores(
        float((found.both**2 / found.clusters).sum() / total), float((found.both**2 / found.people).sum() / total)
    )
