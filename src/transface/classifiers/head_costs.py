"""What a head costs a rank: bytes of memory, and bytes through each collective of a step, as docs/scaling.md derives
them.

Letters: C identities, E embedding size, W ranks, R classes of the fullest rank, B faces of a rank, G of all ranks, r
sample rate, n classes walked at a time. Numbers are float32.
"""

from typing import NamedTuple


class HeadMemory(NamedTuple):
    """Bytes of a rank.

    Attributes:
        weights: the centres.
        moments: of the optimizer, with the count of steps of each row where rows are sampled.
        gradient: of the centres.
        step: copies of the sampled rows, their gradients and moments while they are stepped, and the draw.
        faces: embeddings, directions and gradients of the faces a rank sees.
        walk: over the classes, a chunk at a time.
    """

    weights: int
    moments: int
    gradient: int
    step: int
    faces: int
    walk: int

    def total(self) -> int:
        """Return the sum."""
        return sum(self)


class HeadTraffic(NamedTuple):
    """Bytes of payload that a rank puts through the collectives of a step."""

    gathered: int
    scattered: int
    reduced: int


def head_memory(
    num_identities: int,
    embedding_size: int,
    *,
    ranks: int,
    sharded: bool,
    sample_rate: float = 1.0,
    num_moments: int = 2,
    faces_per_rank: int = 0,
    chunk_size: int = 0,
) -> HeadMemory:
    """Return the bytes of the fullest rank.

    Args:
        sharded: partial_fc; else each rank holds all centres.
        num_moments: numbers that the optimizer keeps of each weight: 2 of AdamW, 1 of SGD with momentum.
        faces_per_rank: B; 0: centres alone.
        chunk_size: n.
    """
    rows = -(-num_identities // ranks) if sharded else num_identities
    sampled = sharded and sample_rate < 1
    touched = round(sample_rate * rows) if sampled else rows
    faces = faces_per_rank * ranks if sharded else faces_per_rank
    drawn = 5 * num_identities + round(8 * sample_rate * num_identities) if sampled and faces else 0
    return HeadMemory(
        weights=4 * rows * embedding_size,
        moments=4 * num_moments * rows * embedding_size + (4 * rows if sampled and faces else 0),
        gradient=4 * touched * embedding_size,
        step=(4 * (2 + num_moments) * touched * embedding_size if sampled else 0) + drawn,
        faces=(16 if sharded else 12) * faces * embedding_size,
        walk=(16 * faces + 12 * embedding_size) * chunk_size,
    )


def head_traffic(embedding_size: int, *, ranks: int, faces_per_rank: int, faces: int, element_size: int) -> HeadTraffic:
    """Return the bytes of a step of partial_fc.

    Args:
        faces_per_rank: B, of the fullest rank.
        faces: G.
        element_size: bytes of a number of an embedding as the network hands it on.
    """
    return HeadTraffic(
        gathered=8 * ranks + ranks * faces_per_rank * (embedding_size * element_size + 8),
        scattered=4 * ranks * faces_per_rank * embedding_size,
        reduced=12 * faces + 8 * faces + 8,
    )
