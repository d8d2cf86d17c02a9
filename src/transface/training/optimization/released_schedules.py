"""Schedules of released trainers whose warm-up does not begin at nothing."""

import math
from collections.abc import Callable

from transface.training.optimization.schedules import RunLength


class FaceptorCosine:
    """Linear warm-up from `first_factor` to 1, then half a cosine to 0, moved after each update: updates 0 and 1 have
    one rate.

    Faceptor (ECCV 2024), released code: 1e-6 to 5e-5 in 2,000 steps, so first_factor is 1/50; update k uses the value
    of max(k - 1, 0).

    Raises:
        ValueError: for a first factor outside 0..1.
    """

    def __init__(self, *, warmup_steps: int = 2000, first_factor: float = 0.02) -> None:
        if not 0 <= first_factor <= 1:
            raise ValueError(f"schedule.first_factor must be in 0..1, got {first_factor}")
        self.warmup_steps = warmup_steps
        self.first_factor = first_factor

    def factors(self, length: RunLength) -> Callable[[int], float]:
        """Return the factor of the base rate for each update of a run of this length.

        Raises:
            ValueError: if the warm-up does not end before the run.
        """
        if not 0 <= self.warmup_steps < length.total_steps:
            raise ValueError(
                f"warm-up of {self.warmup_steps} steps must be in 0..{length.total_steps - 1}: shorten"
                " schedule.warmup_steps"
            )

        def factor(update: int) -> float:
            step = max(update - 1, 0)
            if step < self.warmup_steps:
                return self.first_factor + (1 - self.first_factor) * step / self.warmup_steps
            done = (step - self.warmup_steps) / (length.total_steps - self.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

        return factor
