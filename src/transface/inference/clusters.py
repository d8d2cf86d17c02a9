"""Groups embeddings into people by HDBSCAN, and suggests which groups may be one person; nothing is merged by itself.

Shapes: N faces, E embedding size, C clusters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST = 50_000  # faces; HDBSCAN's memory grows with their square at worst


class Merge(NamedTuple):
    """Two clusters that may be one person, and the cosine of their mean embeddings."""

    first: int
    second: int
    cosine: float


class Clusters(NamedTuple):
    """Labels (N,) of faces, the largest cluster being 0, -1 for a face in none; probabilities (N,) of belonging, 0 of
    those that `same_person` alone brought in; suggestions, best first.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    merges: list[Merge]


def cluster_faces(
    vectors: NDArray[np.float32],
    *,
    min_cluster_size: int = 3,
    same_person: float | None = None,
    pictures: Sequence[str] | None = None,
    suggest_from: float = 0.4,
) -> Clusters:
    """Return the clusters of unit vectors (N, E).

    Args:
        min_cluster_size: faces, 2 or more; small values split people into tiny groups, large ones merge rare people
            with look-alikes.
        same_person: a cosine from which two faces count as one person (a model's threshold): nothing nearer is split,
            and a face farther than that from the mean of its cluster is left out. Two faces are near through others
            that are: min_cluster_size faces within this cosine hold a face in a group.
        pictures: the picture of each face: two faces of one picture are two people, and only the likelier of them stays
            in a cluster.
        suggest_from: the cosine from which a merge is suggested.

    Raises:
        ValueError: for settings that cannot be, or vectors that are none.
    """
    from sklearn.cluster import HDBSCAN

    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"vectors must be (N, E) finite numbers, got {vectors.shape}")
    if not min_cluster_size >= 2:
        raise ValueError(f"min_cluster_size must be 2 or more, got {min_cluster_size}")
    if same_person is not None and not -1 <= same_person <= 1:
        raise ValueError(f"same_person is a cosine in -1..1, got {same_person}")
    if not -1 <= suggest_from <= 1:
        raise ValueError(f"suggest_from is a cosine in -1..1, got {suggest_from}")
    if len(vectors) > LARGEST:
        raise ValueError(f"at most {LARGEST} faces are clustered at once, got {len(vectors)}")
    if len(vectors) < min_cluster_size:
        return Clusters(np.full(len(vectors), -1, np.int64), np.zeros(len(vectors)), [])
    found = HDBSCAN(min_cluster_size=min_cluster_size, metric="euclidean", copy=True).fit(vectors.astype(np.float64))
    labels, probabilities = found.labels_.astype(np.int64), np.asarray(found.probabilities_, np.float64)
    if same_person is not None:
        # Not by cluster_selection_epsilon: with NumPy 2.4, scikit-learn 1.9 ends in a TypeError wherever it would act.
        near = found.dbscan_clustering(float(np.sqrt(2 - 2 * same_person)), min_cluster_size)
        labels = _near_their_means(vectors, joined_within(labels, near), same_person)
    if pictures is not None:
        labels = _apart_within_pictures(labels, probabilities, pictures)
    labels = _by_size(labels)
    return Clusters(
        labels,
        np.where(labels < 0, 0.0, probabilities),
        suggest_merges(vectors, labels, pictures=pictures, suggest_from=suggest_from),
    )


def joined_within(labels: NDArray[np.int64], near: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels (N,) in which all faces of one group of `near` (N,; -1: in none) are in one cluster, if any of them
    is in one.
    """
    owner = np.arange(int(labels.max(initial=-1)) + 1)
    labels = labels.copy()
    for group in range(int(near.max(initial=-1)) + 1):
        own = near == group
        inside = np.unique(owner[labels[own & (labels >= 0)]])
        if len(inside):
            owner[np.isin(owner, inside)] = inside[0]
            labels[own & (labels < 0)] = inside[0]
    if not len(owner):
        return labels
    numbers = np.unique(owner, return_inverse=True)[1]
    joined: NDArray[np.int64] = np.where(labels < 0, -1, numbers[labels])
    return joined


def _near_their_means(vectors: NDArray[np.float32], labels: NDArray[np.int64], cosine: float) -> NDArray[np.int64]:
    labels = labels.copy()
    for label in range(int(labels.max(initial=-1)) + 1):
        own = np.flatnonzero(labels == label)
        mean = vectors[own].mean(0)
        labels[own[vectors[own] @ mean < cosine * np.linalg.norm(mean)]] = -1
    return labels


def _apart_within_pictures(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], pictures: Sequence[str]
) -> NDArray[np.int64]:
    labels, seen = labels.copy(), set()
    for place in np.argsort(-probabilities, kind="stable").tolist():
        key = (int(labels[place]), pictures[place])
        if key[0] >= 0 and key in seen:
            labels[place] = -1
        seen.add(key)
    return labels


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    used, counts = np.unique(labels[labels >= 0], return_counts=True)
    new = np.empty(int(labels.max(initial=-1)) + 2, np.int64)
    new[-1] = -1
    new[used[np.argsort(-counts, kind="stable")]] = np.arange(len(used))
    renamed: NDArray[np.int64] = new[labels]
    return renamed


def suggest_merges(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    pictures: Sequence[str] | None = None,
    suggest_from: float = 0.4,
) -> list[Merge]:
    """Return pairs of clusters whose mean embeddings have at least a cosine `suggest_from`, the most alike first.

    Clusters with faces of one picture are never suggested: they are two people.
    """
    count = int(labels.max(initial=-1)) + 1
    if count < 2:
        return []
    means = np.stack([vectors[labels == label].mean(0) for label in range(count)]).astype(np.float64)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    cosines = means @ means.T
    rows, columns = np.nonzero(np.triu(cosines >= suggest_from, 1))
    own = (
        None
        if pictures is None
        else [{pictures[p] for p in np.flatnonzero(labels == label).tolist()} for label in range(count)]
    )
    found = [
        Merge(first, second, float(cosines[first, second]))
        for first, second in zip(rows.tolist(), columns.tolist(), strict=True)
        if own is None or not own[first] & own[second]
    ]
    return sorted(found, key=lambda merge: -merge.cosine)
