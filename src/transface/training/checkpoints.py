"""Checkpoints as folders: written beside, renamed when whole, so that a killed write leaves the previous one usable.

A checkpoint is `step-<n>/` with `trainer.ckpt` (network, optimizer, schedule, loops, data position, the resolved config) and, for a
classifier whose centres are sharded, one file of centres and moments per range of classes. `last` and `best` are links to folders.
"""

import os
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer

from transface.distributed import rank

TRAINER_FILE = "trainer.ckpt"
PACKAGES = ("transface", "torch", "torchvision", "timm", "lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions of the packages a result depends on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def complete_checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints of a folder, the oldest first; half-written ones never carry this name."""
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit() and (path / TRAINER_FILE).is_file()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def find_checkpoint(path: str | Path) -> Path:
    """Return the `trainer.ckpt` that a run folder, a checkpoint folder or a file means; of a run: best, else last.

    Raises:
        FileNotFoundError: where there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    for candidate in (path, path / "checkpoints" / "best", path / "checkpoints" / "last", path / "best", path / "last"):
        if (candidate / TRAINER_FILE).is_file():
            return (candidate / TRAINER_FILE).resolve()
    raise FileNotFoundError(f"no checkpoint at {path}: give a run folder, a folder of runs/<name>/checkpoints, or a .ckpt file")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint file holds, on the CPU; code inside it is refused, never run.

    Raises:
        ValueError: if the file is no checkpoint, or holds anything but tensors and plain values.
    """
    file = find_checkpoint(path)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a mutated file makes the reader fail in any way: IndexError, TypeError, OverflowError ...
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{file} is not a checkpoint that can be opened safely ({reason}): expected tensors and plain values only") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected a checkpoint of transface")
    return content


def backbone_weights(content: dict[str, Any], *, averaged: bool = True) -> dict[str, torch.Tensor]:
    """Return the backbone's weights in a checkpoint, the averaged ones (EMA) where it has them and `averaged` is set."""
    if averaged and "ema_backbone" in content:
        return dict(content["ema_backbone"])
    prefix = "backbone."
    return {name[len(prefix) :]: value for name, value in content.get("state_dict", {}).items() if name.startswith(prefix)}


def tensors_of(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of a state dict, without the other things that modules keep in it."""
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def check_same_architecture(own: dict[str, torch.Tensor], stored: dict[str, torch.Tensor], *, where: str) -> None:
    """Raise where two state dicts differ in names or shapes.

    Raises:
        ValueError: naming the first few differences.
    """
    missing, extra = [n for n in own if n not in stored], [n for n in stored if n not in own]
    differing = [f"{n} {tuple(stored[n].shape)} instead of {tuple(own[n].shape)}" for n in own if n in stored and own[n].shape != stored[n].shape]
    if missing or extra or differing:
        parts = [f"lacks {_some(missing)}" if missing else "", f"has {_some(extra)} besides" if extra else "", _some(differing)]
        raise ValueError(f"{where} is a checkpoint of another architecture: it {', '.join(p for p in parts if p)}; choose the backbone it was trained with")


def _some(names: list[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


class CheckpointWriter(Callback):
    """Saves the state of training by steps, by time, at each validation and at the end; keeps the newest and the best.

    Args:
        folder: where checkpoints go.
        monitor: name of the logged metric that chooses the best; may never appear.
        mode: "max" or "min".
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
        mode: Literal["max", "min"] = "max",
        every_n_steps: int | None = 1000,
        every_n_minutes: float | None = None,
        keep: int = 2,
        config: dict[str, Any] | None = None,
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f'checkpoint.mode must be "max" or "min", got {mode!r}')
        if keep < 1 or (every_n_steps is not None and every_n_steps < 1):
            raise ValueError(f"checkpoint.keep and checkpoint.every_n_steps must be at least 1, got {keep} and {every_n_steps}")
        self.folder, self.monitor, self.mode = Path(folder), monitor, mode
        self.every_n_steps, self.every_n_minutes, self.keep, self.config = every_n_steps, every_n_minutes, keep, config
        self.best_value: float | None = None
        self.best_step: int | None = None
        self._saved_step = -1
        self._judged_step = -1
        self._last_time = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best_value": self.best_value, "best_step": self.best_step, "judged_step": self._judged_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_value, self.best_step = state_dict["best_value"], state_dict["best_step"]
        self._judged_step = state_dict["judged_step"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["transface"] = {"config": self.config, "versions": versions()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step = trainer.global_step
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stray in [*self.folder.glob("*.writing"), *self.folder.glob("*.replaced")]:
                shutil.rmtree(stray, ignore_errors=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step == self._saved_step:
            return
        judged = self._judge(trainer, pl_module)
        due = self.every_n_steps is not None and step % self.every_n_steps == 0
        if judged or due or self._time_is_up(trainer):
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._judge(trainer, pl_module)
        if self._saved_step != trainer.global_step:
            self.save(trainer)

    def _judge(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Take note of a metric measured since the last look, and return whether there was one."""
        validated = int(getattr(pl_module, "validated_at", -1))
        if validated <= self._judged_step or self.monitor not in trainer.callback_metrics:
            return False
        self._judged_step = validated
        value = float(trainer.callback_metrics[self.monitor])
        if self.best_value is None or (value > self.best_value if self.mode == "max" else value < self.best_value):
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
            self._publish(writing, final)
        trainer.strategy.barrier()
        return final

    def _publish(self, writing: Path, final: Path) -> None:
        for file in writing.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if final.exists():
            old = final.with_suffix(".replaced")
            final.rename(old)
            writing.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        else:
            writing.rename(final)
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


def _link(link: Path, target: str) -> None:
    """Point a link at a folder beside it in one move."""
    fresh = link.with_name(f".{link.name}.fresh")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
