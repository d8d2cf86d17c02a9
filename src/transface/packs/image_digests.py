"""Digests by which images are known again: exact ones of the bytes, perceptual ones that survive a new compression.

Shapes: n images, D words of 64 bits.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Digests = NDArray[np.uint64]

SIDE = 16  # a perceptual digest has SIDE x SIDE bits
MOST_BITS = 15  # up to which near pairs are found for certain: one of 16 bands is then equal
FARTHEST_NEIGHBOUR = 48  # in a group of equal band, how far apart images are still compared
BAND = np.uint16


def content_digests(encoded: Sequence[bytes]) -> Digests:
    """Return (n, 2) words: equal for equal bytes."""
    data = b"".join(hashlib.blake2b(image, digest_size=16).digest() for image in encoded)
    return np.frombuffer(data, dtype="<u8").reshape(-1, 2)


def perceptual_digests(images: Tensor) -> Digests:
    """Return (n, 4) words for images (n, 3, H, W), uint8: the signs of 16 x 16 cosine coefficients of the grey picture,
    the mean left out.

    The same picture compressed at quality 50 differs in about 5 of the 256 bits, brightened in 1, cut by a pixel at
    each edge in about 20; photographs of two people in about 120, two of one person in 40 or more.
    """
    grey = images.to(torch.float32).mean(1)
    coefficients = _cosines(grey.shape[1]) @ grey @ _cosines(grey.shape[2]).T
    return np.packbits((coefficients > 0).flatten(1).numpy(), axis=1).view("<u8")


def _cosines(side: int) -> Tensor:
    frequency = torch.arange(1, SIDE + 1)[:, None]
    return torch.cos(torch.pi / side * (torch.arange(side) + 0.5) * frequency)


def grey_spread(images: Tensor) -> Tensor:
    """Return (n,): the standard deviation of each image's grey levels; a blank image has nearly none."""
    return images.to(torch.float32).mean(1).flatten(1).std(1)


class Pairs(NamedTuple):
    """Pairs of images (m,), (m,), the smaller index first, and how many bits they differ in (m,)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.int64]


def equal_groups(digests: Digests) -> list[NDArray[np.int64]]:
    """Return the groups of indices (2 or more each) with equal digests (n, D), in the order of their first member."""
    _, inverse, counts = np.unique(digests, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)
    order = np.argsort(inverse, kind="stable")
    groups = np.split(order, np.cumsum(counts)[:-1])
    return sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))


def near_pairs(digests: Digests, *, most_bits: int) -> Pairs:
    """Return the pairs of images whose perceptual digests (n, 4) differ in at most `most_bits` bits.

    Two digests that differ in at most 15 bits agree in one of 16 bands of 16, and images are compared within equal
    bands. In a band shared by more than 48 images only neighbours in the order of digests are compared.
    """
    bands = np.ascontiguousarray(digests).view(BAND).reshape(len(digests), digests.shape[1] * 4)
    found: set[tuple[int, int]] = set()
    for column in range(bands.shape[1]):
        for first, second in _candidates(bands, column):
            near = bit_distance(digests[first], digests[second]) <= most_bits
            low, high = np.minimum(first[near], second[near]), np.maximum(first[near], second[near])
            found.update(zip(low.tolist(), high.tolist(), strict=True))
    pairs = np.array(sorted(found), dtype=np.int64).reshape(-1, 2)
    return Pairs(pairs[:, 0], pairs[:, 1], bit_distance(digests[pairs[:, 0]], digests[pairs[:, 1]]))


def _candidates(bands: NDArray[np.uint16], column: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs with an equal band: first all at distance 1 in sorted order, then at 2, and so on."""
    order = np.lexsort((*bands.T, bands[:, column]))
    key = bands[order, column]
    for lag in range(1, min(FARTHEST_NEIGHBOUR, len(order) - 1) + 1):
        same = np.flatnonzero(key[lag:] == key[:-lag])
        if not len(same):
            return
        yield order[same], order[same + lag]


def bit_distance(a: Digests, b: Digests) -> NDArray[np.int64]:
    """Return (m,): in how many bits the digests (m, D) differ."""
    differing = np.ascontiguousarray(a ^ b).view(np.uint8)
    return _BITS[differing].reshape(len(a), a.shape[-1] * 8).sum(1, dtype=np.int64)


_BITS = np.array([bin(value).count("1") for value in range(256)], dtype=np.uint8)
