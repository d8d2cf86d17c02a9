"""Checkpoints as folders: written beside, renamed when whole, so that a killed write leaves the previous one usable.

A checkpoint is `step-<n>/` with `trainer.ckpt` (network, optimizer, schedule, loops, data position, the resolved
config) and, for a classifier whose centres are sharded, one file of centres and moments per range of classes. `last`
and `best` are links to folders.
"""

import os
import shutil
import time
from pathlib import Path
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer

from transface.artifacts import package_versions, sync
from transface.backbones.weights.files import TRAINER_FILE
from transface.distributed import rank
from transface.training.checkpoints.reader import complete_checkpoints
from transface.training.direction import higher_is_better
from transface.training.logging.metrics_file import MetricsFile


class CheckpointWriter(Callback):
    """Saves the state of training by steps, by time, at each validation and at the end; keeps the newest and the best.

    Args:
        folder: where checkpoints go.
        monitor: name of the logged metric that chooses the best; may never appear.
        mode: "max" or "min"; None: the direction that the measure itself says is better.
        every_n_steps: optimizer steps between saves, or None.
        every_n_minutes: minutes between saves, or None.
        keep: newest checkpoints kept besides the best.
        config: plain dict saved inside, from which the model can be built again.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        monitor: str = "val/mean/accuracy",
        mode: Literal["max", "min"] | None = None,
        every_n_steps: int | None = 1000,
        every_n_minutes: float | None = None,
        keep: int = 2,
        config: dict[str, Any] | None = None,
    ) -> None:
        if mode not in ("max", "min", None):
            raise ValueError(f'checkpoint.mode must be "max", "min" or null, got {mode!r}')
        if keep < 1 or (every_n_steps is not None and every_n_steps < 1):
            raise ValueError(
                f"checkpoint.keep and checkpoint.every_n_steps must be at least 1, got {keep} and {every_n_steps}"
            )
        if every_n_minutes is not None and not every_n_minutes > 0:
            raise ValueError(f"checkpoint.every_n_minutes must be above 0 or null, got {every_n_minutes}")
        self.folder, self.monitor, self.mode = Path(folder), monitor, mode
        self.every_n_steps, self.every_n_minutes, self.keep, self.config = every_n_steps, every_n_minutes, keep, config
        self.best_value: float | None = None
        self.best_step: int | None = None
        self._saved_step = -1
        self._began = False
        self._judged_step = -1
        self._last_time = time.monotonic()

    @property
    def saved_step(self) -> int:
        """The step of the latest checkpoint, -1 before any."""
        return self._saved_step

    def state_dict(self) -> dict[str, Any]:
        best = {"best_value": self.best_value, "best_step": self.best_step, "judged_step": self._judged_step}
        return best | {"monitor": self.monitor, "mode": self.mode}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("monitor", self.monitor) != self.monitor or (
            None not in (kept := state_dict.get("mode"), self.mode) and kept != self.mode
        ):
            return  # the best of another metric, which no value of this one may ever pass
        self.best_value, self.best_step = state_dict["best_value"], state_dict["best_step"]
        self._judged_step = state_dict["judged_step"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["transface"] = {"config": self.config, "versions": package_versions()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step, self._began = trainer.global_step, True
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stray in self.folder.glob("*.writing"):
                shutil.rmtree(stray, ignore_errors=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._saved_step:
            return
        judged = self._judge(trainer, pl_module)
        due = self.every_n_steps is not None and step % self.every_n_steps == 0
        if judged or due or self._time_is_up(trainer):
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        judged = self._judge(trainer, pl_module)
        if judged or self._saved_step != trainer.global_step:
            self.save(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._began and trainer.global_step > 0 and trainer.is_global_zero:
            hint = "; a larger trainer.max_epochs, trainer.max_steps or time_budget continues training"
            hint = "" if trainer.should_stop else hint  # early stopping says what continues it
            print(f"training had ended at step {trainer.global_step} already: nothing was done{hint}", flush=True)

    def _judge(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Record a metric measured since the last look, and return whether there was one."""
        validated = int(getattr(pl_module, "validated_at", -1))
        if validated <= self._judged_step or self.monitor not in trainer.callback_metrics:
            return False
        self._judged_step = validated
        value = float(trainer.callback_metrics[self.monitor])
        higher = higher_is_better(pl_module, self.monitor, mode=self.mode)
        if self.best_value is None or (value > self.best_value if higher else value < self.best_value):
            self.best_value, self.best_step = value, trainer.global_step
        return True

    def _time_is_up(self, trainer: Trainer) -> bool:
        if self.every_n_minutes is None:
            return False
        due = time.monotonic() - self._last_time >= 60 * self.every_n_minutes
        return bool(trainer.strategy.broadcast(due))

    def save(self, trainer: Trainer) -> Path:
        """Write a checkpoint of the present step and return its folder; every rank must call it."""
        final = self.folder / f"step-{trainer.global_step:09d}"
        writing = final.with_suffix(".writing")
        if rank() == 0:
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir(parents=True)
        trainer.strategy.barrier()
        trainer.save_checkpoint(writing / TRAINER_FILE, weights_only=False)
        write_shards = getattr(trainer.lightning_module, "write_shards", None)
        if write_shards is not None:
            write_shards(writing)
        trainer.strategy.barrier()
        self._saved_step, self._last_time = trainer.global_step, time.monotonic()
        if rank() == 0:
            for logger in trainer.loggers:
                if isinstance(logger, MetricsFile):
                    logger.sync()
            self._publish(writing, final)
        trainer.strategy.barrier()
        return final

    def _publish(self, writing: Path, final: Path) -> None:
        for file in writing.iterdir():
            sync(file)
        sync(writing)
        if final.exists():
            _replace_files(writing, final)
        else:
            writing.rename(final)
        sync(self.folder)  # a name that is lost with the power is no checkpoint, and older ones go below
        _link(self.folder / "last", final.name)
        best = self.folder / f"step-{self.best_step:09d}" if self.best_step is not None else final
        if best == final:
            _link(self.folder / "best", final.name)
        kept = {path.name for path in complete_checkpoints(self.folder)[-self.keep :]} | {final.name, best.name}
        if (self.folder / "best").is_symlink():
            kept.add(os.readlink(self.folder / "best"))
        for path in complete_checkpoints(self.folder):
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


def _replace_files(source: Path, target: Path) -> None:
    """Move the files of a folder over those of another checkpoint of the same step, one by one: at every moment it is
    whole.
    """
    names = {path.name for path in source.iterdir()}
    for name in names:
        (source / name).replace(target / name)
    for path in target.iterdir():
        if path.name not in names:
            path.unlink()
    source.rmdir()


def _link(link: Path, target: str) -> None:
    """Point a link at a folder beside it in one move."""
    fresh = link.with_name(f".{link.name}.fresh")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
