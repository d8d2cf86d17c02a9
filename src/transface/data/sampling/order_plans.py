"""Orders by name, made for a data set once it is open: what conf/order/*.yaml name.

Each takes (dataset, weights, seed) and its own settings, and refuses what it would not heed.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from transface.data.sampling.orders import (
    BlockOrder,
    ClassBalancedOrder,
    EpochOrder,
    SequentialOrder,
    ShuffledOrder,
    WeightedOrder,
)


class OrderPlan(Protocol):
    """Makes the order of a data set.

    `weights` has one number for each of the sources that the set is joined of, or is None where all count alike.
    """

    def __call__(self, dataset: Any, *, weights: Sequence[float] | None, seed: int) -> EpochOrder: ...


def shuffled(dataset: Any, *, weights: Sequence[float] | None = None, seed: int = 0) -> EpochOrder:
    """Return a full shuffle; of weighted sources, each seen as often as its weight says."""
    return (
        ShuffledOrder(len(dataset), seed=seed) if weights is None else WeightedOrder(dataset.sizes, weights, seed=seed)
    )


def in_blocks(
    dataset: Any,
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    block_size: int = 1024,
    buffer_blocks: int = 64,
) -> EpochOrder:
    """Return a shuffle that reads runs of `block_size` neighbours, `buffer_blocks` of them mixed, for disks that seek
    slowly.

    Raises:
        ValueError: for weighted sources.
    """
    _refuse_weights(weights, "in blocks")
    return BlockOrder(len(dataset), seed=seed, block_size=block_size, buffer_blocks=buffer_blocks)


def class_balanced(
    dataset: Any,
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    classes_per_batch: int,
    images_per_class: int,
) -> EpochOrder:
    """Return P classes x K images, over and over; a batch of one device holds one such group or several.

    The class of an image is what `dataset.classes` (n,) says; of identities it is the person.

    Raises:
        ValueError: for weighted sources, more classes than there are, or labels that are no classes.
    """
    _refuse_weights(weights, "class-balanced")
    return ClassBalancedOrder(
        classes_of(dataset), classes_per_batch=classes_per_batch, images_per_class=images_per_class, seed=seed
    )


def first_images(
    dataset: Any,
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,  # noqa: ARG001 - a plan takes a seed
    num_samples: int,
) -> EpochOrder:
    """Return the first images as they lie, in every epoch: to overfit them on purpose.

    Raises:
        ValueError: for weighted sources, or more images than there are.
    """
    _refuse_weights(weights, "of the first images")
    if not 1 <= num_samples <= len(dataset):
        raise ValueError(f"order.num_samples must be in 1..{len(dataset)} (the images there are), got {num_samples}")
    return SequentialOrder(num_samples)


def classes_of(dataset: Any) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return the class (n,) of every image of a data set: its `classes`, else its integer `labels`.

    Raises:
        ValueError: where it has neither.
    """
    found = getattr(dataset, "classes", None)
    found = getattr(dataset, "labels", None) if found is None else found
    if not isinstance(found, np.ndarray) or found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"a class-balanced order needs one class an image, {type(dataset).__name__} has none: take order=shuffled"
        )
    return found.astype(np.int64)


def _refuse_weights(weights: Sequence[float] | None, order: str) -> None:
    if weights is not None:
        raise ValueError(
            f"an order {order} does not heed the weights {list(weights)} of data.sources: take order=shuffled, or leave"
            " them out"
        )
