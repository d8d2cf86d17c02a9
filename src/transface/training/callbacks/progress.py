"""The progress bar of a run: images per second, loss, the monitored metric, time left; one plain line a while where
there is no terminal.
"""

import logging
import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from transface.data.batches import num_images
from transface.progress import duration, told
from transface.training.callbacks.throughput import budget_left

log = logging.getLogger(__name__)


class FaceProgressBar(RichProgressBar):
    """Rich bar on a terminal; elsewhere a line every `line_seconds`.

    Args:
        monitor: name of the validated metric to show.
        line_seconds: seconds between two lines where there is no terminal.
    """

    def __init__(
        self, *, monitor: str = "val/mean/accuracy", line_seconds: float = 10.0, refresh_rate: int = 5
    ) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.monitor = monitor
        self.line_seconds = line_seconds
        self._plain = not sys.stdout.isatty()
        self._seen = 0
        self._mark = (0.0, 0)
        self._start = (0.0, 0)
        self._line_time = 0.0
        self._rate = 0.0
        self._epoch: int | None = None
        self._line = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark, self._seen = (time.monotonic(), 0), 0
        self._start = (self._mark[0], trainer.global_step)
        self._line_time = self._mark[0]
        if not self._plain:
            super().on_train_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._plain:
            super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._seen += num_images(batch) * trainer.world_size
        self._epoch = trainer.current_epoch
        now = time.monotonic()
        if getattr(pl_module, "validated_at", -1) == trainer.global_step:
            self._mark = (now, self._seen)  # the time of a validation is not the time of the images before it
        if now - self._mark[0] >= 1.0:
            self._rate = (self._seen - self._mark[1]) / (now - self._mark[0])
            self._mark = (now, self._seen)
        if self._plain:
            if trainer.is_global_zero and now - self._line_time >= self.line_seconds:
                self._line_time = now
                self._print_line(trainer)
        else:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._plain:
            super().on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._plain:
            super().on_train_end(trainer, pl_module)
        elif trainer.is_global_zero:
            self._print_line(trainer)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        items = dict(super().get_metrics(trainer, pl_module))
        items.pop("v_num", None)
        value = trainer.callback_metrics.get(self.monitor)
        return {**items, "images/s": round(self._rate), **({} if value is None else {self.monitor: float(value)})}

    def _print_line(self, trainer: Trainer) -> None:
        metrics = trainer.callback_metrics
        loss = metrics.get("train/loss")
        # the epoch of the last batch: at the end of training Lightning has counted one more
        words = [
            f"step {trainer.global_step}",
            f"epoch {trainer.current_epoch if self._epoch is None else self._epoch}",
        ]
        words += [f"loss {float(loss):.3f}"] if loss is not None else []
        rate = self._rate or self._seen / max(time.monotonic() - self._start[0], 1e-9)
        words += [f"{rate:.0f} images/s"]
        words += [f"{self.monitor} {float(metrics[self.monitor]):.4f}"] if self.monitor in metrics else []
        left = self._seconds_left(trainer)
        words += [f"{duration(left)} left"] if left is not None else []
        if (line := ", ".join(words)) != self._line:
            print(line, flush=True)
        self._line = line
        told()

    def _seconds_left(self, trainer: Trainer) -> float | None:
        """Return the time to the end of the run: of its steps, or of its time budget if that comes first."""
        started, first_step = self._start
        done = trainer.global_step - first_step
        total = trainer.estimated_stepping_batches
        budget = budget_left(trainer)
        if total == float("inf") or done < 1:
            return budget
        left = max(total - trainer.global_step, 0) * (time.monotonic() - started) / done
        return left if budget is None else min(left, budget)
