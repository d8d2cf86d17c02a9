"""The one base class of ours: a LightningModule with an optimizer, a schedule, named losses to log, seeded steps, clipping.

A system gives `losses(batch, generator)`; everything around it is the same for all systems.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from transface.backbones.weights.rebuild import config_of
from transface.classifiers.partial_fc import PartialFC
from transface.distributed import all_reduce_sum, rank, world_size
from transface.seeds import seed_step
from transface.training.checkpoints.reader import check_same_architecture, tensors_of, versions
from transface.training.checkpoints.resumed_optimizer import apply_stated, stated_settings
from transface.training.checkpoints.shards import read_centers, write_centers
from transface.training.named_losses import NamedLosses
from transface.training.optimization.sampled_rows import SampledRows
from transface.training.optimization.schedules import RunLength, Schedule
from transface.training.parallel.sharded_ddp import sharded_parameter_names

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]


class TrainingModule(lightning.LightningModule):
    """Trains what a system hands it.

    Args:
        optimizer: makes an optimizer from parameter groups, e.g. functools.partial(torch.optim.AdamW, lr=1e-3).
        schedule: factor of the learning rate per optimizer step; None keeps it constant.
        clip_norm: largest gradient norm of `clipped_parameters()`; None clips nothing.
        seed: all draws of a step follow from it, the epoch, the batch and the rank.
    """

    def __init__(self, *, optimizer: OptimizerFactory, schedule: Schedule | None = None, clip_norm: float | None = None, seed: int = 0) -> None:
        super().__init__()
        if clip_norm is not None and clip_norm <= 0:
            raise ValueError(f"clip_norm must be positive or null, got {clip_norm}")
        optimizer([{"params": [nn.Parameter(torch.zeros(1))]}])  # a misspelt or impossible setting is refused now, not after the data is read
        self.optimizer_factory, self.schedule, self.clip_norm, self.seed = optimizer, schedule, clip_norm, seed
        self.validated_at = -1  # the optimizer step of the latest validation inside training
        self._averaged: tuple[nn.Module, ...] = ()  # in a tuple: not a part of this module's own parameters
        self._shards_folder: Path | None = None  # where the sharded centres of the run that goes on lie
        self._stated: list[dict[str, Any]] = []  # the optimizer's settings as this run's config has them
        self._resumed = False
        self._generator: torch.Generator | None = None
        self._batch_size = 1

    @property
    def evaluated_backbone(self) -> nn.Module:
        """The network to validate with: the averaged one where an average is kept, else the trained one."""
        return self._averaged[0] if self._averaged else self.backbone  # type: ignore[return-value]

    def use_average(self, averaged: nn.Module) -> None:
        """Validate with these weights instead of the trained ones."""
        self._averaged = (averaged,)

    def losses(self, batch: Any, generator: torch.Generator) -> NamedLosses:
        """Return the losses of a batch; every random draw comes from `generator` (on the module's device) or torch's own seeded state."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups; `lr_factor` in a group scales its learning rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def clipped_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters whose gradient norm is limited to `clip_norm`."""
        return self.parameters()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        value = seed_step(self.seed, epoch=self.current_epoch, batch=batch_idx, rank=rank())
        if self._generator is None or self._generator.device != self.device:
            self._generator = torch.Generator(self.device)
        self._generator.manual_seed(value)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert self._generator is not None, "on_train_batch_start seeds the generator"
        losses = self.losses(batch, self._generator)
        total = losses.total()
        # Of all ranks: the loss of the whole batch, which does not change with the number of devices.
        mean, *terms = all_reduce_sum(torch.stack([total.detach(), *(term.detach() for term in losses.terms.values())])).div(world_size())
        self.log_dict({f"train/loss/{name}": term for name, term in zip(losses.terms, terms, strict=True)}, batch_size=self._batch_size)
        self.log("train/loss", mean, prog_bar=True, batch_size=self._batch_size)
        return total

    def on_train_epoch_end(self) -> None:
        end_epoch = getattr(self.trainer.datamodule, "end_epoch", None)  # type: ignore[attr-defined]
        if end_epoch is not None:
            end_epoch()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave sharded centres and their moments out: `write_shards` writes each rank's own beside. Say which backbone it is, if nobody else does."""
        if "transface" not in checkpoint:
            checkpoint["transface"] = {"config": self._config(), "versions": versions()}
        for name in sharded_parameter_names(self):
            checkpoint["state_dict"].pop(name)
            for optimizer, state in zip(self.trainer.optimizers, checkpoint["optimizer_states"], strict=True):
                state["state"].pop(_index_in(optimizer, self.get_parameter(name)), None)

    def _config(self) -> dict[str, Any]:
        """Return the config of the backbone, from which `transface.load` builds it again; without one where its class does not tell."""
        try:
            return {"backbone": config_of(self.backbone)}  # type: ignore[arg-type]
        except (AttributeError, ValueError):
            return {}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        path = Path(str(self.trainer.ckpt_path))
        self.check_checkpoint(checkpoint, path)
        sharded = self._sharded()
        checkpoint["state_dict"].update(sharded)
        self._shards_folder = path.parent if sharded else None
        self._resumed = True

    def check_checkpoint(self, checkpoint: dict[str, Any], path: Path) -> None:
        """Raise ValueError where what a file holds is no state of a run of this module; nothing is loaded."""
        if any(part not in checkpoint for part in ("state_dict", "optimizer_states", "loops")):
            raise ValueError(f"{path} is no checkpoint of a run of training, so none can go on from it: backbone.weights={path} starts with its weights")
        self._check_same_parts(checkpoint, path)
        stored = checkpoint["state_dict"] | self._sharded()
        check_same_architecture(tensors_of(self.state_dict()), tensors_of(stored), where=str(path))
        own = [len(group["params"]) for group in self.parameter_groups()]
        if any([len(group["params"]) for group in state["param_groups"]] != own for state in checkpoint["optimizer_states"]):
            raise ValueError(f"{path} was trained with other groups of parameters: resume with its system.decay_rule, layer_decay and frozen")

    def _sharded(self) -> dict[str, Tensor]:
        return {name: self.get_parameter(name).detach() for name in sharded_parameter_names(self)}

    def _check_same_parts(self, checkpoint: dict[str, Any], path: Path) -> None:
        """Raise ValueError where the checkpoint is of another classifier or optimizer, whose state would not fit."""
        hint = f"resume with the one it was trained with, or start anew with backbone.weights={path.parent}"
        own, stored = ({name for name in names if name.endswith("_extra_state")} for names in (self.state_dict(), checkpoint["state_dict"]))
        if own != stored:
            raise ValueError(f"{path} was trained with another classifier: {hint}")
        marks = {"betas", "momentum"}  # of Adam's kind, of SGD
        probe = self.optimizer_factory([{"params": [nn.Parameter(torch.zeros(1))]}]).param_groups[0]
        if any(marks & set(state["param_groups"][0]) != marks & set(probe) for state in checkpoint.get("optimizer_states", [])):
            raise ValueError(f"{path} was trained with another optimizer: {hint}")

    def on_train_start(self) -> None:
        if self._shards_folder is not None:
            for part, optimizer in self._sharded_parts():
                read_centers(self._shards_folder, part, optimizer=optimizer)
            self._shards_folder = None
        if self._resumed:
            schedulers = [config.scheduler for config in self.trainer.lr_scheduler_configs]
            changes = apply_stated(self.trainer.optimizers[0], self._stated, schedulers=schedulers)
            if changes and self.trainer.is_global_zero:
                print(f"from step {self.trainer.global_step} on, as this command says: {', '.join(changes)}", flush=True)
            self._resumed = False

    def write_shards(self, folder: Path) -> None:
        """Write this rank's sharded centres and their moments into a checkpoint's folder; every rank calls it."""
        for part, optimizer in self._sharded_parts():
            write_centers(folder, part, optimizer=optimizer)

    def _sharded_parts(self) -> list[tuple[PartialFC, Optimizer]]:
        return [(part, self.trainer.optimizers[0]) for part in self.modules() if isinstance(part, PartialFC)]

    def _check_steps_sampled_rows(self, optimizer: Optimizer) -> None:
        """Raise ValueError where centres are sampled and the optimizer would fail at their sparse gradient, or move the other rows too."""
        sampled = any(part.sample_rate < 1 for part in self.modules() if isinstance(part, PartialFC))
        if sampled and not isinstance(optimizer, SampledRows):
            raise ValueError(
                f"sample_rate below 1 needs an optimizer that moves the sampled centres alone, {type(optimizer).__module__}.{type(optimizer).__name__} "
                "does not: take AdamW or SGD of transface.training.optimization.optimizers, or put SampledRows before its class"
            )

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if gradient_clip_val is not None:
            raise ValueError("trainer.gradient_clip_val clips the class centres too: use system.clip_norm, which clips the backbone")
        if self.clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_([p for p in self.clipped_parameters() if p.grad is not None], self.clip_norm)
            self.log("train/gradient_norm", norm)

    def configure_optimizers(self) -> Any:
        groups = self.parameter_groups()
        lr_factors = [float(group.pop("lr_factor", 1.0)) for group in groups]
        optimizer = self.optimizer_factory(groups)
        self._check_steps_sampled_rows(optimizer)
        self._stated = stated_settings(optimizer)
        if self.schedule is None:
            return optimizer
        factor = self.schedule.factors(self.run_length())
        scheduler = LambdaLR(optimizer, [_scaled(factor, own) for own in lr_factors])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def run_length(self) -> RunLength:
        """Return the optimizer steps of the whole run and of one epoch, as the trainer counts them."""
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ValueError("a schedule needs an end: set trainer.max_epochs or trainer.max_steps")
        batches = self.trainer.num_training_batches
        per_epoch = max(int(batches) // self.trainer.accumulate_grad_batches, 1) if batches != float("inf") else int(total)
        return RunLength(total_steps=int(total), steps_per_epoch=per_epoch)


def _scaled(factor: Callable[[int], float], own: float) -> Callable[[int], float]:
    return lambda step: own * factor(step)


def _index_in(optimizer: Optimizer, parameter: nn.Parameter) -> int:
    """Return the number that an optimizer's state_dict gives a parameter."""
    parameters = [own for group in optimizer.param_groups for own in group["params"]]
    return next(index for index, own in enumerate(parameters) if own is parameter)
