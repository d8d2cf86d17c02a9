"""How class centres are split by class range over ranks, and what they are at first.

Shapes: C identities, E embedding size, W ranks.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from transface.seeds import seed_from

BLOCK = 4096


class ShardRange(NamedTuple):
    """The classes of one rank.

    Attributes:
        start: first class.
        stop: one past the last.
    """

    start: int
    stop: int


def shard_range(num_identities: int, world_size: int, *, rank: int) -> ShardRange:
    """Return the classes rank r of W owns: C // W + (r < C % W) of them, from (C // W) r + min(r, C % W).

    Raises:
        ValueError: if rank is not in 0..W-1.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be in 0..{world_size - 1} for world_size {world_size}, got {rank}")
    each, left = divmod(num_identities, world_size)
    start = each * rank + min(rank, left)
    return ShardRange(start, start + each + (rank < left))


def first_centers(start: int, stop: int, *, embedding_size: int, seed: int) -> Tensor:
    """Return the first centres of classes start..stop-1 (float32), the same however the classes are split over ranks.

    Each block of 4,096 classes is drawn from a generator of its own.
    """
    centers = torch.empty(stop - start, embedding_size)
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        generator = torch.Generator().manual_seed(seed_from("centers", seed, block))
        drawn = torch.empty(BLOCK, embedding_size).normal_(0, 0.01, generator=generator)
        first, last = max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)
        centers[first - start : last - start] = drawn[first - block * BLOCK : last - block * BLOCK]
    return centers


def check_sizes(
    num_identities: int | None, embedding_size: int, *, chunk_size: int | None, num_subcenters: int = 1
) -> None:
    """Raise where a size is not positive.

    Raises:
        ValueError: naming it.
    """
    if num_identities is None:
        raise ValueError(
            "classifier.num_identities is not known: the data tells no number of people; several sets in a step"
            " (data=several) need classifier=several_heads"
        )
    sizes = {
        "num_identities": num_identities,
        "embedding_size": embedding_size,
        "num_subcenters": num_subcenters,
        "chunk_size": 1 if chunk_size is None else chunk_size,
    }
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
