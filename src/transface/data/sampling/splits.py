"""Splits of a labelled set into train, val and test: by strata, groups kept together, the same on every machine.

Shapes: n images.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SPLITS = ("train", "val", "test")
SHARES = (0.7, 0.1, 0.2)  # of the three, of a set that brings no split


def stratified_split(
    strata: ArrayLike, groups: Sequence[str], *, shares: Sequence[float] = SHARES, seed: int = 0
) -> NDArray[np.str_]:
    """Return (n,) "train", "val" or "test" of every image.

    Each stratum (age decade and gender, say) is dealt by the shares. Images of one group (a person, copies of a file)
    come to one split, which the group's first image decides. A group's place follows from the hash of its name, so
    adding files moves no other.

    Args:
        strata: (n,) numbers.
        groups: (n,) names.
        shares: of train, val and test; they sum to 1.

    Raises:
        ValueError: for other lengths, or shares that do not sum to 1.
    """
    kinds = np.asarray(strata)
    if kinds.shape != (len(groups),):
        raise ValueError(f"each image needs a stratum and a group, got {kinds.shape} and {len(groups)}")
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares of train, val and test must sum to 1, got {list(shares)}")
    first: dict[str, int] = {}
    for index, group in enumerate(groups):
        first.setdefault(group, index)
    of_group: dict[str, str] = {}
    for kind in np.unique(kinds):
        own = sorted((g for g, index in first.items() if kinds[index] == kind), key=lambda g: _hashed(g, seed))
        edges = np.round(np.cumsum(shares) * len(own)).astype(int)
        for place, group in enumerate(own):
            of_group[group] = SPLITS[min(int(np.searchsorted(edges, place, side="right")), 2)]
    return np.array([of_group[group] for group in groups], dtype="<U5")


def split_hash(paths: Sequence[str], split: NDArray[np.str_]) -> str:
    """Return the SHA-256 of which image lies in which split, whatever their order."""
    lines = sorted(f"{path}\0{own}" for path, own in zip(paths, split.tolist(), strict=True))
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _hashed(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
