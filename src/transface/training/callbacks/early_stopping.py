"""Ends a run whose validation gets no better; a checkpoint remembers how long that has been so."""

import logging
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer

from transface.training.direction import higher_is_better

log = logging.getLogger(__name__)


class EarlyStopping(Callback):
    """Ends training after `patience` validations in a row without a better value.

    It looks right after a validation, before the checkpoint of that step is written, so that a resumed run stops where
    the whole one does: Lightning's own looks at the end of an epoch, which comes later, and counts an epoch without a
    validation as one without progress.

    Args:
        monitor: name of the logged metric; a run that never measures it is not stopped, and says so once.
        mode: "max" or "min"; None: the direction that the measure itself says is better.
        patience: validations without a better value that end the run.
        min_delta: how much better a value must be to count.
    """

    def __init__(
        self,
        *,
        monitor: str = "val/mean/accuracy",
        mode: Literal["max", "min"] | None = None,
        patience: int = 5,
        min_delta: float = 0.0,
    ) -> None:
        if mode not in ("max", "min", None):
            raise ValueError(f'callbacks.early_stopping.mode must be "max", "min" or null, got {mode!r}')
        if patience < 1 or min_delta < 0:
            raise ValueError(
                f"callbacks.early_stopping: patience must be at least 1 and min_delta at least 0, got {patience} and"
                f" {min_delta}"
            )
        self.monitor, self.mode, self.patience, self.min_delta = monitor, mode, patience, min_delta
        self.best: float | None = None
        self.misses = 0
        self._judged_step = -1
        self._said = False

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "misses": self.misses,
            "judged_step": self._judged_step,
            "monitor": self.monitor,
            "mode": self.mode,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("monitor", self.monitor) != self.monitor or (
            None not in (kept := state_dict.get("mode"), self.mode) and kept != self.mode
        ):
            return  # of another metric
        self.best, self.misses, self._judged_step = state_dict["best"], state_dict["misses"], state_dict["judged_step"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.misses < self.patience:
            return
        trainer.should_stop = True
        if trainer.is_global_zero:
            print(
                f"this run was ended early, by {self.misses} validations without a better {self.monitor} than"
                f" {self.best:.4f}: a larger callbacks.early_stopping.patience continues it",
                flush=True,
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        validated = int(getattr(pl_module, "validated_at", -1))
        if validated <= self._judged_step:
            return
        if self.monitor not in trainer.callback_metrics:
            self._say_unmeasured(trainer)
            return
        self._judged_step = validated
        self._judge(
            float(trainer.callback_metrics[self.monitor]),
            higher=higher_is_better(pl_module, self.monitor, mode=self.mode),
        )
        if self.misses >= self.patience:
            trainer.should_stop = True
            if trainer.is_global_zero:
                print(
                    f"no better {self.monitor} than {self.best:.4f} in {self.misses} validations: training ends at step"
                    f" {validated}",
                    flush=True,
                )

    def _say_unmeasured(self, trainer: Trainer) -> None:
        if not self._said and trainer.is_global_zero:
            names = ", ".join(name for name in trainer.callback_metrics if name.startswith("val/"))
            log.warning(
                "callbacks.early_stopping.monitor=%s is not measured, so nothing stops the run early: there are %s",
                self.monitor,
                names,
            )
        self._said = True

    def _judge(self, value: float, *, higher: bool) -> None:
        gain = float("inf") if self.best is None else value - self.best if higher else self.best - value
        if gain > self.min_delta:
            self.best, self.misses = value, 0
        else:
            self.misses += 1
