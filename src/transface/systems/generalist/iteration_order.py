"""The released order of images: a run of N steps is one shuffled list of repeated passes, cut into one slice a process.

Faceptor (ECCV 2024), released code. Other orders: transface.data.sampling.
"""

import numpy as np
from numpy.typing import NDArray


def iteration_order(
    num_images: int,
    *,
    num_steps: int,
    batch_size: int,
    world_size: int = 1,
    rank: int = 0,
    last_step: int = -1,
    seed: int = 2048,
) -> NDArray[np.int64]:
    """Return the images that one process reads from the step after `last_step` on, `batch_size` of them a step.

    Raises:
        ValueError: for no images, or a rank outside the world.
    """
    if num_images < 1 or not 0 <= rank < world_size:
        raise ValueError(
            f"an order needs images and a rank below {world_size}, got {num_images} images and rank {rank}"
        )
    total = num_steps * batch_size * world_size
    order = np.resize(np.arange(num_images), total)
    np.random.RandomState(seed).shuffle(order)
    own = order.reshape(world_size, -1)[rank]
    return own[(last_step + 1) * batch_size :].astype(np.int64)
