"""How fast training goes: images a second, share of the device's peak (MFU), time spent waiting for data, memory, time
left.
"""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from transface.data.batches import num_images
from transface.training.callbacks.device_peaks import peak_flops

MEGABYTE = 2**20


class Throughput(Callback):
    """Logs, every `every_n_steps` batches and as means over them:

    speed/seconds (since training began or was resumed), speed/images_per_second (of all devices),
    speed/data_wait_share (of the time between two steps' starts),
    speed/seconds_left, speed/memory_mib (the peak so far, of the GPU or of this process), speed/mfu (where the device's
    peak is known).

    It reads a clock twice a step and waits for no device.

    Args:
        every_n_steps: batches between two rows; None: the trainer's log_every_n_steps.
        peak_tflops: the device's peak in the precision in use, where the table has none.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        every_n_steps: int | None = None,
        peak_tflops: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.every_n_steps, self.peak_tflops, self.clock = every_n_steps, peak_tflops, clock
        self._flops_per_image = 0
        self._peak: float | None = None
        self._began = 0.0
        self._begin(0.0)

    def _begin(self, now: float) -> None:
        self._start, self._ended, self._waited, self._images, self._batches = now, now, 0.0, 0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._peak = (
            self.peak_tflops * 1e12 if self.peak_tflops else device_peak(pl_module.device, str(trainer.precision))
        )
        self._flops_per_image = (_flops_per_image(pl_module) or 0) if self._peak else 0
        self._began = self.clock()
        self._begin(self._began)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._waited += self.clock() - self._ended

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ended = self.clock()
        self._batches += 1
        self._images += num_images(batch)
        every: int = self.every_n_steps or trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not every or self._batches < every:  # 0: the trainer logs nothing
            return
        seconds = max(self._ended - self._start, 1e-9)
        for logger in trainer.loggers:
            logger.log_metrics(self.measured(trainer, pl_module, seconds), step=trainer.global_step)
        self._begin(self._ended)

    def measured(self, trainer: Trainer, pl_module: LightningModule, seconds: float) -> dict[str, float]:
        """Return the row of the window that took `seconds`."""
        rate = self._images * trainer.world_size / seconds
        row = {"speed/seconds": self._ended - self._began}
        row |= {"speed/images_per_second": rate, "speed/data_wait_share": self._waited / seconds}
        left = seconds_left(trainer, seconds / self._batches)
        if left is not None:
            row["speed/seconds_left"] = left
        row["speed/memory_mib"] = peak_memory(pl_module.device) / MEGABYTE
        if self._peak and self._flops_per_image:
            row["speed/mfu"] = rate * self._flops_per_image / (self._peak * trainer.world_size)
        return row


def _flops_per_image(module: LightningModule) -> int | None:
    count = getattr(module, "flops_per_image", None)
    return None if count is None else count()


def peak_memory(device: torch.device) -> int:
    """Return the most bytes held so far: allocated on a GPU, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024


def seconds_left(trainer: Trainer, seconds_per_batch: float) -> float | None:
    """Return the time to the end of training at this pace, or of its time budget if that ends first; None if it has no
    end.
    """
    total, budget = trainer.estimated_stepping_batches, budget_left(trainer)
    if total == float("inf"):
        return budget
    left = max(total - trainer.global_step, 0) * trainer.accumulate_grad_batches * seconds_per_batch
    return left if budget is None else min(left, budget)


def device_peak(device: torch.device, precision: str) -> float | None:
    """Return the peak of a device by its name, None for a CPU or a device that is not in the table."""
    if device.type != "cuda":
        return None
    tf32 = torch.get_float32_matmul_precision() != "highest"
    return peak_flops(torch.cuda.get_device_name(device), precision=precision, tf32=tf32)


def budget_left(trainer: Trainer) -> float | None:
    """Return the seconds of training that the time budget leaves, None without one."""
    parts: Any = getattr(trainer, "callbacks", ())
    timer = next((part for part in parts if isinstance(part, Timer)), None)
    left = None if timer is None else timer.time_remaining()
    return None if left is None else max(left, 0.0)
