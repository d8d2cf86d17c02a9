"""The one base class of ours: a LightningModule with a network, an optimizer, a schedule, named losses to log, seeded
steps, clipping.

A system gives `network` and `losses(batch, generator)`; everything around them is the same for all systems.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from transface.artifacts import package_versions
from transface.backbones.weights.rebuild import config_of
from transface.distributed import all_reduce_sum, rank, world_size
from transface.seeds import seed_step
from transface.training.checkpoints.resume import ResumedOptimizer, check_checkpoint, upgrade
from transface.training.checkpoints.shards import read_shards, write_shards
from transface.training.flops import forward_flops
from transface.training.optimization.schedules import RunLength, Schedule
from transface.training.parallel.sharded_ddp import sharded_parameter_names, sharded_parts

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]


class NamedLosses(NamedTuple):
    """The losses of one step by name: what a system returns and the trainer logs.

    Attributes:
        terms: name -> scalar loss, each already the mean over the batch; logged as train/loss/<name>.
        weights: name -> factor in the total; a name that is absent counts once.
        num_samples: images in the batch of this device.
    """

    terms: dict[str, Tensor]
    weights: Mapping[str, float] = {}
    num_samples: int = 1

    def total(self) -> Tensor:
        """Return the weighted sum of the terms: the scalar that is differentiated."""
        return torch.stack([self.weights.get(name, 1.0) * term for name, term in self.terms.items()]).sum()


class TrainingModule(lightning.LightningModule):
    """Trains what a system hands it.

    Attributes:
        network: what is averaged, validated, saved as the model, exported and opened again. A system sets it in its
            constructor.
        hints: what to try, by kind of failure: "non_finite", "stuck", "out_of_memory".
        directions: by the name of a validated metric, whether "higher" or "lower" is better; validation fills it.
        validated_at: the optimizer step of the latest validation inside training, -1 before the first.

    Args:
        optimizer: makes an optimizer from parameter groups, e.g. functools.partial(torch.optim.AdamW, lr=1e-3).
        schedule: factor of the learning rate per optimizer step; None keeps it constant.
        clip_norm: largest gradient norm of `clipped_parameters()`; None clips nothing.
        seed: all draws of a step follow from it, the epoch, the batch and the rank.
    """

    network: nn.Module
    hints: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        *,
        optimizer: OptimizerFactory,
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if clip_norm is not None and clip_norm <= 0:
            raise ValueError(f"clip_norm must be positive or null, got {clip_norm}")
        self.optimizer_kind = _kind_of(
            optimizer
        )  # a misspelt or impossible setting is refused now, not after the data is read
        self.optimizer_factory = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.seed = seed
        self.validated_at = -1
        self.directions: dict[str, Literal["higher", "lower"]] = {}
        self._averaged: tuple[nn.Module, ...] = ()  # in a tuple: not a part of this module's own parameters
        self._shards_folder: Path | None = None  # where the sharded rows of the resumed run lie
        self._resumed_optimizer = ResumedOptimizer()
        self._generator: torch.Generator | None = None

    @property
    def evaluated_network(self) -> nn.Module:
        """The network to validate with: the averaged one where an average is kept, else the trained one."""
        return self._averaged[0] if self._averaged else self.network

    def use_average(self, averaged: nn.Module) -> None:
        """Validate with these weights instead of the trained ones."""
        self._averaged = (averaged,)

    def open_models(self, open_model: Callable[[str], nn.Module]) -> None:
        """Open the models that the system was given by path, such as a teacher. Called once, before training."""

    def losses(self, batch: Any, generator: torch.Generator) -> NamedLosses:
        """Return the losses of a batch; every random draw comes from `generator` (on the module's device) or torch's
        own seeded state.
        """
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups; `lr_factor` in a group scales its learning rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def clipped_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters whose gradient norm is limited to `clip_norm`."""
        return self.parameters()

    def flops_per_image(self) -> int | None:
        """Return what one image costs in a training step by the model itself (MFU's numerator), or None where it is not
        known.

        By default three forward passes of the network (the backward pass costs two); what is recomputed does not count.
        """
        size = getattr(self.network, "image_size", None)
        if size is None:
            return None
        first = next(self.network.parameters(), torch.zeros(0, device=self.device))
        return 3 * forward_flops(self.network, torch.zeros(1, 3, *size, device=first.device, dtype=first.dtype))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        progress: Any = self.trainer.fit_loop.epoch_progress
        for counts in (progress.current, progress.total):
            # Lightning leaves them behind in a run resumed from the end of an epoch; resumed once more from what it
            # saves then, the epoch, of which every draw follows, would be another.
            counts.ready = counts.started = counts.processed + 1
        value = seed_step(self.seed, epoch=self.current_epoch, batch=batch_idx, rank=rank())
        if self._generator is None or self._generator.device != self.device:
            self._generator = torch.Generator(self.device)
        self._generator.manual_seed(value)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert self._generator is not None, "on_train_batch_start seeds the generator"
        losses = self.losses(batch, self._generator)
        total = losses.total()
        # Of all ranks: the loss of the whole batch, which does not change with the number of devices.
        mean, *terms = all_reduce_sum(
            torch.stack([total.detach(), *(term.detach() for term in losses.terms.values())])
        ).div(world_size())
        named = {f"train/loss/{name}": term for name, term in zip(losses.terms, terms, strict=True)}
        self.log_dict(named, batch_size=losses.num_samples)
        self.log("train/loss", mean, prog_bar=True, batch_size=losses.num_samples)
        return total

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave sharded rows and their moments out: `write_shards` writes each rank's own beside. Say which network it
        is, if nobody else does.
        """
        own = checkpoint.setdefault("transface", {"config": {}, "versions": package_versions()})
        own |= {"network": self._network_config(), "optimizer": self.optimizer_kind}
        for name in sharded_parameter_names(self):
            checkpoint["state_dict"].pop(name)
            for optimizer, state in zip(self.trainer.optimizers, checkpoint["optimizer_states"], strict=True):
                state["state"].pop(_index_in(optimizer, self.get_parameter(name)), None)

    def _network_config(self) -> dict[str, Any] | None:
        """Return the config of the network, from which `transface.load` builds it again; None where its class does not
        tell.
        """
        try:
            return config_of(self.network)
        except (AttributeError, ValueError):
            return None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        path = Path(str(self.trainer.ckpt_path))
        self.check_checkpoint(checkpoint, path)
        sharded = {name: self.get_parameter(name).detach() for name in sharded_parameter_names(self)}
        checkpoint["state_dict"].update(sharded)
        self._shards_folder = path.parent if sharded else None
        self._resumed_optimizer.resumed = True

    def check_checkpoint(self, checkpoint: dict[str, Any], path: Path) -> None:
        """Raise ValueError where what a file holds is no state of a run of this module; nothing is loaded, older names
        are renewed in place.
        """
        upgrade(checkpoint)
        check_checkpoint(
            checkpoint,
            path,
            state=self.state_dict(),
            sharded=sharded_parameter_names(self),
            group_sizes=[len(group["params"]) for group in self.parameter_groups()],
            optimizer_kind=self.optimizer_kind,
        )

    def on_train_start(self) -> None:
        if self._shards_folder is not None:
            read_shards(self._shards_folder, self, optimizer=self.trainer.optimizers[0])
            self._shards_folder = None
        schedulers = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        changes = self._resumed_optimizer.apply(self.trainer.optimizers[0], schedulers=schedulers)
        if changes and self.trainer.is_global_zero:
            print(f"from step {self.trainer.global_step} on, as this command says: {', '.join(changes)}", flush=True)

    def write_shards(self, folder: Path) -> None:
        """Write this rank's sharded rows and their moments into a checkpoint's folder; every rank calls it."""
        write_shards(folder, self, optimizer=self.trainer.optimizers[0] if sharded_parts(self) else None)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if gradient_clip_val is not None:
            raise ValueError(
                "trainer.gradient_clip_val clips every parameter: use system.clip_norm, which clips those the system"
                " names"
            )
        if self.clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(
                [p for p in self.clipped_parameters() if p.grad is not None], self.clip_norm
            )
            self.log("train/gradient_norm", norm)

    def configure_optimizers(self) -> Any:
        groups = self.parameter_groups()
        lr_factors = [float(group.pop("lr_factor", 1.0)) for group in groups]
        optimizer = self.optimizer_factory(groups)
        for part in sharded_parts(self).values():
            part.check_optimizer(optimizer)
        self._resumed_optimizer.state(optimizer)
        if self.schedule is None and set(lr_factors) <= {1.0}:
            return optimizer
        factor = _unchanged if self.schedule is None else self.schedule.factors(self.run_length())
        scheduler = LambdaLR(optimizer, [_scaled(factor, own) for own in lr_factors])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def run_length(self) -> RunLength:
        """Return the optimizer steps of the whole run and of one epoch, as the trainer counts them."""
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ValueError("a schedule needs an end: set trainer.max_epochs or trainer.max_steps")
        batches = self.trainer.num_training_batches
        per_epoch = (
            max(int(batches) // self.trainer.accumulate_grad_batches, 1) if batches != float("inf") else int(total)
        )
        return RunLength(total_steps=int(total), steps_per_epoch=per_epoch)


def _kind_of(factory: OptimizerFactory) -> str:
    """Return the name of the class of optimizer that a factory makes."""
    return type(factory([{"params": [nn.Parameter(torch.zeros(1))]}])).__name__


def _unchanged(_: int) -> float:
    return 1.0


def _scaled(factor: Callable[[int], float], own: float) -> Callable[[int], float]:
    return lambda step: own * factor(step)


def _index_in(optimizer: Optimizer, parameter: nn.Parameter) -> int:
    """Return the number that an optimizer's state_dict gives a parameter."""
    parameters = [own for group in optimizer.param_groups for own in group["params"]]
    return next(index for index, own in enumerate(parameters) if own is parameter)
