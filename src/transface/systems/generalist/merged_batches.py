"""One batch of every task a step: images of one size pass the encoder together and are told apart again.

Faceptor (ECCV 2024) section 4.1.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def by_size(images: Mapping[str, Tensor]) -> list[list[str]]:
    """Return the names of the batches in groups of one image size, in the order in which they come."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, batch in images.items():
        groups.setdefault(tuple(batch.shape[1:]), []).append(name)
    return list(groups.values())


def merged(
    encode: Callable[[Tensor], Any], images: Mapping[str, Tensor], split: Callable[[Any, list[int]], list[Any]]
) -> dict[str, Any]:
    """Return what `encode` makes of each batch, with one call for each image size; `split` cuts its result into numbers
    of images.
    """
    found: dict[str, Any] = {}
    for names in by_size(images):
        encoded = encode(torch.cat([images[name] for name in names]))
        found |= dict(zip(names, split(encoded, [len(images[name]) for name in names]), strict=True))
    return {name: found[name] for name in images}
