"""Randomness that depends on where training is, not on how it got there: every draw of a step follows from (seed,
epoch, batch, rank).

So a resumed run draws what the uninterrupted one drew, without storing a generator's state, and ranks draw differently.
"""

import hashlib
import random

import numpy as np
import torch


def seed_from(*words: object) -> int:
    """Return the 63-bit seed of some words and numbers; other words give unrelated seeds."""
    text = ":".join(map(str, ("transface", *words)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def step_seed(seed: int, *, epoch: int, batch: int, rank: int) -> int:
    """Return the seed of one training step on one rank; neighbouring arguments give unrelated seeds."""
    return seed_from(seed, epoch, batch, rank)


def seed_step(seed: int, *, epoch: int, batch: int, rank: int) -> int:
    """Seed Python, NumPy and torch (every device) for one training step, and return the seed."""
    value = step_seed(seed, epoch=epoch, batch=batch, rank=rank)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)
    return value
