"""Zones: consecutive groups of a transformer's blocks, and what each zone counts in the losses.

MZTS (FG 2023). Sources and choices: docs/papers/mzts.md. Shapes: G zones; the last one is the teacher, the others are
students.
"""

import math
from collections.abc import Sequence
from typing import Literal

ZoneWeights = Literal["uniform", "ladder"]


def zone_sizes(num_blocks: int, zones: int | Sequence[int]) -> tuple[int, ...]:
    """Return the number of blocks of each zone.

    Args:
        zones: how many zones of one size, or the size of each.

    Raises:
        ValueError: if the zones do not hold all the blocks, each at least one.

    Example:
        >>> zone_sizes(12, 4), zone_sizes(12, [2, 4, 6])
        ((3, 3, 3, 3), (2, 4, 6))
    """
    if isinstance(zones, int):
        if not 1 <= zones <= num_blocks or num_blocks % zones:
            fitting = ", ".join(str(number) for number in range(1, num_blocks + 1) if num_blocks % number == 0)
            raise ValueError(
                f"{num_blocks} blocks cannot be split into {zones} equal zones: take one of {fitting}, or give the size"
                " of each zone"
            )
        return (num_blocks // zones,) * zones
    sizes = tuple(int(size) for size in zones)
    if not sizes or min(sizes) < 1 or sum(sizes) != num_blocks:
        raise ValueError(
            f"zone sizes must be at least 1 and add up to the {num_blocks} blocks, got {list(sizes)} (sum {sum(sizes)})"
        )
    return sizes


def student_weights(
    num_zones: int, kind: ZoneWeights = "uniform", *, progress: float = 0.0, kappa: float = 2.0
) -> tuple[float, ...]:
    """Return the G-1 weights of the student zones, the shallowest first; they sum to one.

    "ladder" follows the adjustable ladder of ICKD (TCSVT 2023); the direction is ours: weights are proportional to
    exp(kappa (1 - 2 progress) u), u = g / (G-1), so that the zone nearest to the teacher counts most at first, the
    shallowest at the end.

    Args:
        progress: share of the training that is done, in 0..1.
        kappa: how steep the ladder is.

    Raises:
        ValueError: for another word, or a progress outside 0..1.

    Example:
        >>> student_weights(3), student_weights(1)
        ((0.5, 0.5), ())
    """
    if kind not in ("uniform", "ladder"):
        raise ValueError(f"zone weights must be 'uniform' or 'ladder', got {kind!r}")
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must be in 0..1, got {progress}")
    slope = kappa * (1 - 2 * progress) if kind == "ladder" else 0.0
    heights = [math.exp(slope * zone / (num_zones - 1)) for zone in range(1, num_zones)]
    return tuple(height / sum(heights) for height in heights)


def ramp(progress: float, share: float) -> float:
    """Return how much distillation counts: rising from 0 to 1 over the first `share` of the training; 1 throughout for
    a share of 0.

    Raises:
        ValueError: if the share is outside 0..1.

    Example:
        >>> ramp(0.05, 0.1), ramp(0.5, 0.1), ramp(0.0, 0.0)
        (0.5, 1.0, 1.0)
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the ramp must be a share of the training in 0..1, got {share}")
    return 1.0 if share == 0 else min(progress / share, 1.0)
