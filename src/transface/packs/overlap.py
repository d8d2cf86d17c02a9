"""Finds people who occur twice, by a trained model's embeddings: identities of a training set in a test set, and two
identities that look like one.

An identity is the mean direction of a few of its images. Shapes: C identities, M test images, E embedding size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from transface.data.benchmarks.pairs import PairSet
from transface.images.decoding import decode_images
from transface.packs.writer import Progress, no_progress

Embed = Callable[[Tensor], Tensor]  # uint8 images (B, 3, H, W) -> embeddings (B, E)
BATCH = 128
BLOCK = 4096


class Likeness(NamedTuple):
    """Two that look alike: what `first` and `second` are says the function that returns it; the cosine of the two."""

    first: int
    second: int
    cosine: float


def identity_means(
    faces: Any,
    embed: Embed,
    *,
    labels: np.ndarray,
    num_identities: int,
    images_per_identity: int = 8,
    on_progress: Progress = no_progress,
) -> Tensor:
    """Return unit vectors (C, E): the mean direction of up to so many images of each identity; zeros for an identity
    without images.
    """
    chosen = _first_of_each(labels, images_per_identity)
    means: Tensor | None = None
    for start in range(0, len(chosen), BATCH):
        batch = faces.__getitems__(chosen[start : start + BATCH].tolist())
        rows = F.normalize(embed(batch.images).to("cpu", torch.float32))
        if means is None:
            means = torch.zeros(num_identities, rows.shape[1])
        means.index_add_(0, batch.labels, rows)
        on_progress(len(rows))
    assert means is not None
    return F.normalize(means)


def strangers(
    faces: Any, embed: Embed, *, labels: np.ndarray, below: float, on_progress: Progress = no_progress
) -> list[tuple[int, float]]:
    """Return (place, cosine) of images whose cosine to the mean of the others of their person lies below `below`, the
    least alike first; people of fewer than three images are left alone.
    """
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    vectors: Tensor | None = None
    for start in range(0, len(order), BATCH):
        batch = faces.__getitems__(order[start : start + BATCH].tolist())
        rows = F.normalize(embed(batch.images).to("cpu", torch.float32))
        vectors = torch.zeros(len(labels), rows.shape[1]) if vectors is None else vectors
        vectors[torch.from_numpy(order[start : start + len(rows)])] = rows
        on_progress(len(rows))
    found = []
    for own in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if vectors is not None else []:
        if len(own) < 3:
            continue
        assert vectors is not None
        rows = vectors[torch.from_numpy(own)]
        others = F.normalize(rows.sum(0) - rows)
        for place, cosine in zip(own.tolist(), (rows * others).sum(1).tolist(), strict=True):
            if cosine < below:
                found.append((place, cosine))
    return sorted(found, key=lambda one: one[1])


def _first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    ordered = labels[order]
    return order[np.arange(len(order)) - np.searchsorted(ordered, ordered) < count]


def embed_pair_set(pairs: PairSet, embed: Embed, *, size: tuple[int, int]) -> Tensor:
    """Return unit vectors (M, E) of all images of a pair set."""
    images = [bytes(image) for image in pairs.images]
    parts = []
    for start in range(0, len(images), BATCH):
        names = [f"{number} of {pairs.name}" for number in range(start, min(start + BATCH, len(images)))]
        decoded = decode_images(images[start : start + BATCH], size=size, names=names)
        parts.append(F.normalize(embed(decoded).to("cpu", torch.float32)))
    return torch.cat(parts)


def overlap_with(means: Tensor, test: Tensor, *, threshold: float) -> list[Likeness]:
    """Return for each identity (C, E) that some test image (M, E) is at least so near: (identity, nearest test image,
    cosine), nearest first.
    """
    found = []
    for start in range(0, len(means), BLOCK):
        cosine, place = (means[start : start + BLOCK] @ test.T).max(1)
        for row in torch.nonzero(cosine >= threshold)[:, 0].tolist():
            found.append(Likeness(start + row, int(place[row]), float(cosine[row])))
    return sorted(found, key=lambda likeness: -likeness.cosine)


def look_alikes(means: Tensor, *, threshold: float) -> list[Likeness]:
    """Return the pairs of identities (C, E) at least so near: (lower label, higher label, cosine), nearest first."""
    found = []
    for start in range(0, len(means), BLOCK):
        for other in range(start, len(means), BLOCK):
            cosines = means[start : start + BLOCK] @ means[other : other + BLOCK].T
            for row, column in torch.nonzero(cosines >= threshold).tolist():
                if start + row < other + column:
                    found.append(Likeness(start + row, other + column, float(cosines[row, column])))
    return sorted(found, key=lambda likeness: -likeness.cosine)
