"""The learning rate over a time budget: the schedule ends when the time does, however many steps that was."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from transface.distributed import copy_from_first


class ScheduleByTime(Callback):
    """Lets a schedule be at the share of its steps that is the share of the time budget used up, or at its own step
    where that is further.

    The time is that of rank 0, so that every rank has one learning rate; of a resumed run all its parts count.

    Raises:
        ValueError: where the trainer has no time budget.
    """

    def __init__(self) -> None:
        self._share = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"share": self._share}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._share = float(state_dict["share"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        timer_of(trainer)
        total = int(trainer.estimated_stepping_batches)
        for config in trainer.lr_scheduler_configs:
            scheduler: Any = config.scheduler
            scheduler.lr_lambdas = [self._by_time(own, total) for own in scheduler.lr_lambdas]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        timer = timer_of(trainer)
        used, left = timer.time_elapsed(), timer.time_remaining() or 0.0
        share = torch.tensor([used / max(used + left, 1e-9)], dtype=torch.float64, device=_double_device(pl_module))
        copy_from_first([share])
        self._share = max(self._share, min(float(share), 1.0))

    def _by_time(self, own: Callable[[int], float], total: int) -> Callable[[int], float]:
        return lambda step: own(max(step, min(int(self._share * total), total - 1)))


def timer_of(trainer: Trainer) -> Timer:
    """Return what counts the time of a run with a budget."""
    parts: Any = trainer.callbacks  # type: ignore[attr-defined]
    timer = next((part for part in parts if isinstance(part, Timer)), None)
    if timer is None or timer.time_remaining() is None:
        raise ValueError("a schedule by time needs an end in time: set time_budget (days:hours:minutes:seconds)")
    return timer


def _double_device(module: LightningModule) -> torch.device:
    """Return the device that ranks speak over, the CPU where it has no float64."""
    return torch.device("cpu") if module.device.type == "mps" else module.device
