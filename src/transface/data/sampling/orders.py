"""The order in which the samples of an epoch are seen: shuffled, in blocks for slow disks, weighted by source, P x K by
class.

An order is a function of the epoch: (seed, epoch) -> indices (n,). It knows no rank, so that any number of ranks walks
the same one.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

IndexArray = NDArray[np.signedinteger]


class EpochOrder(Protocol):
    """What a batch sampler walks.

    Attributes:
        num_samples: how many indices an epoch has; the same in every epoch.
        group: how many neighbours in the order belong into one batch (1: none do).
    """

    num_samples: int
    group: int

    def __call__(self, epoch: int) -> IndexArray:
        """Return the indices (num_samples,) of that epoch, in order."""
        ...


def _generator(seed: int, epoch: int) -> np.random.Generator:
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed and epoch must be 0 or more, got {seed} and {epoch}")
    return np.random.default_rng([seed, epoch])


def _indices(stop: int) -> IndexArray:
    return np.arange(stop, dtype=np.int32 if stop < 1 << 31 else np.int64)


class SequentialOrder:
    """Samples as they lie in the set, in every epoch."""

    group = 1

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def __call__(self, epoch: int) -> IndexArray:
        return _indices(self.num_samples)


class ShuffledOrder:
    """Every sample once an epoch, all orders equally likely."""

    group = 1

    def __init__(self, num_samples: int, *, seed: int = 0) -> None:
        self.num_samples = num_samples
        self.seed = seed

    def __call__(self, epoch: int) -> IndexArray:
        return _generator(self.seed, epoch).permutation(_indices(self.num_samples))


class EndlessOrder:
    """Epochs of `num_samples` samples cut from the endless run of another order's epochs, one after the other.

    Of a small set an epoch has several passes, of a large one a part: what comes next follows from (epoch, num_samples)
    alone.
    """

    def __init__(self, order: EpochOrder, num_samples: int) -> None:
        if num_samples < 1 or order.num_samples < 1 or num_samples % order.group or order.num_samples % order.group:
            raise ValueError(
                f"an epoch must be a positive multiple of {order.group} samples (P classes x K images), got"
                f" {num_samples} of {order.num_samples}"
            )
        self.order = order
        self.num_samples = num_samples
        self.group = order.group

    def __call__(self, epoch: int) -> IndexArray:
        start, stop = epoch * self.num_samples, (epoch + 1) * self.num_samples
        size = self.order.num_samples
        first, last = start // size, (stop - 1) // size
        passes = np.concatenate([self.order(number) for number in range(first, last + 1)])
        return passes[start - first * size : stop - first * size]


class BlockOrder:
    """Every sample once an epoch, read in runs of neighbours: blocks are shuffled, then the samples of each
    `buffer_blocks` of them.

    A disk that seeks slowly reads `block_size` records at a time; what is lost in randomness, `measure_shuffle` tells.
    """

    group = 1

    def __init__(self, num_samples: int, *, seed: int = 0, block_size: int = 1024, buffer_blocks: int = 64) -> None:
        if min(block_size, buffer_blocks) < 1:
            raise ValueError(f"block_size and buffer_blocks must be at least 1, got {block_size} and {buffer_blocks}")
        self.num_samples = num_samples
        self.seed = seed
        self.block_size = block_size
        self.buffer_blocks = buffer_blocks

    def __call__(self, epoch: int) -> IndexArray:
        generator = _generator(self.seed, epoch)
        samples = _indices(self.num_samples)
        starts = generator.permutation(np.arange(0, self.num_samples, self.block_size))
        buffers = []
        for first in range(0, len(starts), self.buffer_blocks):
            blocks = [samples[start : start + self.block_size] for start in starts[first : first + self.buffer_blocks]]
            buffers.append(generator.permutation(np.concatenate(blocks)))
        return np.concatenate(buffers) if buffers else samples


class WeightedOrder:
    """Several sources that lie one after the other: source i gives weight_i times its size, whole passes first, then a
    new random part.
    """

    group = 1

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], *, seed: int = 0) -> None:
        if len(sizes) != len(weights) or not sizes:
            raise ValueError(f"each source needs a weight: {len(sizes)} sources, {len(weights)} weights")
        if not all(np.isfinite(weight) and weight > 0 for weight in weights):
            raise ValueError(
                f"weights must be above 0, got {list(weights)}; leave a source out instead of weighting it 0"
            )
        self.sizes = list(sizes)
        self.counts = [max(round(size * weight), 1) for size, weight in zip(sizes, weights, strict=True)]
        self.num_samples = sum(self.counts)
        self.seed = seed

    def __call__(self, epoch: int) -> IndexArray:
        generator = _generator(self.seed, epoch)
        kind = np.int32 if sum(self.sizes) < 1 << 31 else np.int64
        parts, start = [], 0
        for size, count in zip(self.sizes, self.counts, strict=True):
            own = np.arange(start, start + size, dtype=kind)
            parts += [own] * (count // size)
            parts.append(generator.permutation(own)[: count % size])
            start += size
        return generator.permutation(np.concatenate(parts))


class ClassBalancedOrder:
    """P classes x K images: each run of P * K samples holds P different classes (people, expressions) with K images
    each.

    Classes are dealt in rounds, each round a new shuffle of all; a class's images are dealt in a new shuffle each
    epoch, and again from the start where it has fewer than needed. An epoch has about as many samples as the set has
    images. Labels below 0 are not dealt.
    """

    def __init__(
        self, labels: NDArray[np.int64], *, classes_per_batch: int, images_per_class: int, seed: int = 0
    ) -> None:
        labels = np.asarray(labels)
        self.samples = np.flatnonzero(labels >= 0)
        self.labels = labels[self.samples]
        self.present, self.sizes = np.unique(self.labels, return_counts=True)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.classes_per_batch = classes_per_batch
        self.images_per_class = images_per_class
        if min(classes_per_batch, images_per_class) < 1 or classes_per_batch > len(self.present):
            raise ValueError(
                f"classes_per_batch must be in 1..{len(self.present)} (the classes with images) and images_per_class at"
                f" least 1, got {classes_per_batch} and {images_per_class}"
            )
        self.group = classes_per_batch * images_per_class
        self.num_groups = max(len(self.labels) // self.group, 1)
        self.num_samples = self.num_groups * self.group
        self.seed = seed

    def __call__(self, epoch: int) -> IndexArray:
        generator = _generator(self.seed, epoch)
        by_class = self.samples[np.lexsort((generator.random(len(self.labels)), self.labels))]
        groups_a_round = len(self.present) // self.classes_per_batch
        dealt_classes, rounds = [], []
        for number in range(-(-self.num_groups // groups_a_round)):
            dealt = generator.permutation(len(self.present))[: groups_a_round * self.classes_per_batch]
            dealt_classes.append(dealt)
            rounds.append(np.full(len(dealt), number))
        chosen = np.concatenate(dealt_classes)[: self.num_groups * self.classes_per_batch, None]
        visit = np.concatenate(rounds)[: self.num_groups * self.classes_per_batch, None]
        image = (visit * self.images_per_class + np.arange(self.images_per_class)) % self.sizes[chosen]
        return by_class[self.starts[chosen] + image].reshape(-1)


class ShuffleQuality(NamedTuple):
    """How random an order is, each number beside that of a perfect shuffle.

    Attributes:
        displacement: mean distance between a sample's place in the order and in the set, as a share of the set's size
            (perfect: 1/3).
        neighbour_share: share of pairs in a batch that lie within `reach` of each other in the set.
        neighbour_share_perfect: the same under a perfect shuffle.
        identities: distinct labels in a batch as a share of its size.
        identities_perfect: the same in the batches of a perfect shuffle of the same labels.
    """

    displacement: float
    neighbour_share: float
    neighbour_share_perfect: float
    identities: float
    identities_perfect: float


def measure_shuffle(
    order: IndexArray, labels: NDArray[np.int64], *, batch_size: int, reach: int = 1024, seed: int = 0
) -> ShuffleQuality:
    """Return how near the order (n,) of one epoch over samples with `labels` (n,) comes to a perfect shuffle, from its
    whole batches.

    Raises:
        ValueError: for fewer samples than one batch, or a batch of one.
    """
    size = len(order) // batch_size * batch_size
    if size == 0 or batch_size < 2:
        raise ValueError(
            f"measuring needs a batch of 2 or more and at least one of them: {len(order)} samples, batches of"
            f" {batch_size}"
        )
    perfect = np.random.default_rng(seed).permutation(len(order))
    found, ideal = (
        _batch_statistics(np.asarray(o[:size]).reshape(-1, batch_size), labels, reach) for o in (order, perfect)
    )
    displacement = np.abs(np.asarray(order, dtype=np.int64) - np.arange(len(order))).mean() / len(order)
    return ShuffleQuality(float(displacement), found[0], ideal[0], found[1], ideal[1])


def _batch_statistics(batches: IndexArray, labels: NDArray[np.int64], reach: int) -> tuple[float, float]:
    pairs, people = 0.0, 0
    for batch in batches:
        places = np.sort(batch)
        near = np.searchsorted(places, places + reach, side="right") - np.arange(1, len(places) + 1)
        pairs += near.sum() / (len(places) * (len(places) - 1) / 2)
        people += len(np.unique(labels[batch]))
    return pairs / len(batches), people / batches.size
