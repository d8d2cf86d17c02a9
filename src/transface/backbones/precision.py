"""Runs a part in the precision of its own weights, inside or outside autocast."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def in_precision_of(weight: Tensor, x: Tensor) -> Iterator[Tensor]:
    """Yield x in the dtype of `weight`, with autocast switched off: the gate and the neck end in a sigmoid and a batch norm.

    Without autocast nothing is entered, so an exported graph holds no trace of it.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            yield x.to(weight.dtype)
    else:
        yield x.to(weight.dtype)
