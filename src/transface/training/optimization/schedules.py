"""Learning rate as a factor of the base rate at each optimizer step: linear warm-up, then polynomial or cosine decay.

Recipes: specs of MS1MV2 and Glint360K (TransFace, ICCV 2023). Step i counts from 0; `total_steps` is the whole run.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

Warmup = Literal["from_first_step", "released"]


class RunLength(NamedTuple):
    """How long a run is: optimizer steps in all, and in one epoch."""

    total_steps: int
    steps_per_epoch: int


class Schedule(Protocol):
    """Turns the length of a run into a function step -> factor of the base learning rate."""

    def factors(self, length: RunLength) -> Callable[[int], float]: ...


def _warmup_steps(length: RunLength, *, epochs: float | None, steps: int | None) -> int:
    epochs = 0.0 if epochs is None else epochs
    if not math.isfinite(epochs):
        raise ValueError(f"schedule.warmup_epochs must be a finite number, got {epochs}")
    wanted = steps if steps is not None else round(epochs * length.steps_per_epoch)
    key = "schedule.warmup_epochs" if steps is None else "schedule.warmup_steps"
    if wanted < 0 or wanted >= max(length.total_steps, 1):
        raise ValueError(
            f"warm-up of {wanted} steps must be in 0..{length.total_steps - 1}, the run has {length.total_steps} steps:"
            f" shorten {key} (0: no warm-up) or train longer"
        )
    return wanted


def _warm(step: int, warmup_steps: int, warmup: Warmup) -> tuple[float | None, int]:
    """Return the factor while warming up (else None) and the step that the decay counts from."""
    if warmup == "released":
        # The released trainer steps its scheduler once too often at the start: two steps at zero, then one step behind.
        step = max(step - 1, 0)
        return (step / warmup_steps if step < warmup_steps else None), step
    return ((step + 1) / warmup_steps if step < warmup_steps else None), step


class WarmedUp:
    """A schedule whose warm-up is given in epochs or in steps."""

    @staticmethod
    def unread_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return the settings that are not read beside the others, by name, with the reason."""
        if settings.get("warmup_steps") is None:
            return {}
        return {"warmup_epochs": f"schedule.warmup_steps={settings['warmup_steps']} is the length of the warm-up"}


class Polynomial(WarmedUp):
    """Linear warm-up, then (1 - t)**power with t the share of the steps after warm-up that is done.

    Args:
        power: 2 in the released recipes.
        warmup_epochs: epochs of warm-up (may be fractional), None is 0; ignored if warmup_steps is given.
        warmup_steps: optimizer steps of warm-up.
        warmup: "from_first_step": (i + 1) / warmup_steps; "released": the table of the released code, whose first two
            steps have rate 0.
    """

    def __init__(
        self,
        *,
        power: float = 2.0,
        warmup_epochs: float | None = 0.0,
        warmup_steps: int | None = None,
        warmup: Warmup = "from_first_step",
    ) -> None:
        if warmup not in ("from_first_step", "released"):
            raise ValueError(f'warmup must be "from_first_step" or "released", got {warmup!r}')
        if not 0 <= power < math.inf:
            raise ValueError(f"schedule.power must be finite and at least 0, got {power}")
        self.power, self.warmup_epochs, self.warmup_steps, self.warmup = power, warmup_epochs, warmup_steps, warmup

    def factors(self, length: RunLength) -> Callable[[int], float]:
        """Return the factor of the base rate for each step of a run of this length."""
        warmup_steps = _warmup_steps(length, epochs=self.warmup_epochs, steps=self.warmup_steps)

        def factor(step: int) -> float:
            warm, counted = _warm(step, warmup_steps, self.warmup)
            if warm is not None:
                return warm
            done = (counted - warmup_steps) / max(length.total_steps - warmup_steps, 1)
            return float(max(1.0 - done, 0.0) ** self.power)

        return factor


class Cosine(WarmedUp):
    """Linear warm-up, then half a cosine from 1 down to `final_factor`, in [0, 1]."""

    def __init__(
        self, *, warmup_epochs: float | None = 0.0, warmup_steps: int | None = None, final_factor: float = 0.0
    ) -> None:
        if not 0 <= final_factor <= 1:
            raise ValueError(f"schedule.final_factor must be in [0, 1], got {final_factor}")
        self.warmup_epochs, self.warmup_steps, self.final_factor = warmup_epochs, warmup_steps, final_factor

    def factors(self, length: RunLength) -> Callable[[int], float]:
        """Return the factor of the base rate for each step of a run of this length."""
        warmup_steps = _warmup_steps(length, epochs=self.warmup_epochs, steps=self.warmup_steps)

        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            done = min((step - warmup_steps) / max(length.total_steps - warmup_steps, 1), 1.0)
            return self.final_factor + (1.0 - self.final_factor) * 0.5 * (1.0 + math.cos(math.pi * done))

        return factor


class Constant(WarmedUp):
    """The base rate at every step, after an optional linear warm-up."""

    def __init__(self, *, warmup_epochs: float | None = 0.0, warmup_steps: int | None = None) -> None:
        self.warmup_epochs, self.warmup_steps = warmup_epochs, warmup_steps

    def factors(self, length: RunLength) -> Callable[[int], float]:
        """Return the factor of the base rate for each step of a run of this length."""
        warmup_steps = _warmup_steps(length, epochs=self.warmup_epochs, steps=self.warmup_steps)
        return lambda step: min((step + 1) / warmup_steps, 1.0) if warmup_steps else 1.0
