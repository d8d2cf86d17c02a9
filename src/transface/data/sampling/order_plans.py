"""Orders by name, made for a set of faces once it is open: what conf/order/*.yaml name.

Each takes (faces, weights, seed) and its own settings, and refuses what it would not heed.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from transface.data.sampling.orders import BlockOrder, ClassBalancedOrder, EpochOrder, ShuffledOrder, WeightedOrder


class OrderPlan(Protocol):
    """Makes the order of a set of faces.

    `weights` has one number for each of the sources that the faces are joined of, or is None where all count alike.
    """

    def __call__(self, faces: Any, *, weights: Sequence[float] | None, seed: int) -> EpochOrder: ...


def shuffled(faces: Any, *, weights: Sequence[float] | None = None, seed: int = 0) -> EpochOrder:
    """Return a full shuffle; of weighted sources, each seen as often as its weight says."""
    return ShuffledOrder(len(faces), seed=seed) if weights is None else WeightedOrder(faces.sizes, weights, seed=seed)


def in_blocks(
    faces: Any, *, weights: Sequence[float] | None = None, seed: int = 0, block_size: int = 1024, buffer_blocks: int = 64
) -> EpochOrder:
    """Return a shuffle that reads runs of `block_size` neighbours, `buffer_blocks` of them mixed, for disks that seek slowly.

    Raises:
        ValueError: for weighted sources.
    """
    _refuse_weights(weights, "in blocks")
    return BlockOrder(len(faces), seed=seed, block_size=block_size, buffer_blocks=buffer_blocks)


def class_balanced(
    faces: Any, *, weights: Sequence[float] | None = None, seed: int = 0, identities_per_batch: int, images_per_identity: int
) -> EpochOrder:
    """Return P identities x K images, over and over; a batch of one device holds one such group or several.

    Raises:
        ValueError: for weighted sources, or more identities than there are.
    """
    _refuse_weights(weights, "class-balanced")
    return ClassBalancedOrder(faces.labels, identities_per_batch=identities_per_batch, images_per_identity=images_per_identity, seed=seed)


def _refuse_weights(weights: Sequence[float] | None, order: str) -> None:
    if weights is not None:
        raise ValueError(f"an order {order} does not heed the weights {list(weights)} of data.sources: take order=shuffled, or leave them out")
