"""Makes the Lightning trainer with our defaults: samplers stay as they are, checkpoints are ours, several devices keep
class centres apart.
"""

import datetime
import logging
from collections.abc import Sequence
from typing import Any, Literal

import lightning
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy

from transface.training.callbacks.skipped_records import SkippedRecords
from transface.training.callbacks.weight_averaging import WeightAverage
from transface.training.checkpoints.writer import CheckpointWriter
from transface.training.parallel.sharded_ddp import ShardedDDPStrategy
from transface.training.parallel.synced_batch_norm import SyncedBatchNorms

# What Lightning's words for DDP mean to DDPStrategy.
DDP_WORDS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "ddp_find_unused_parameters_true": {"find_unused_parameters": True},
    "ddp_find_unused_parameters_false": {"find_unused_parameters": False},
}
VALIDATION = "validation.every_n_steps and validation.every_n_epochs say when protocols are measured"
WRITER = "checkpoints are ours, checkpoint.* sets them (checkpoint.every_n_steps, checkpoint.keep)"
# Settings of Lightning that have no effect on what is trained here, and what has it instead.
NOT_READ = {
    **dict.fromkeys(
        ("val_check_interval", "check_val_every_n_epoch", "limit_val_batches", "num_sanity_val_steps"), VALIDATION
    ),
    **dict.fromkeys(("limit_test_batches", "limit_predict_batches"), "transface evaluate and predict do that"),
    **dict.fromkeys(("enable_checkpointing", "enable_autolog_hparams"), WRITER),
    "gradient_clip_algorithm": "system.clip_norm limits the norm of the gradient, which is the one way there is",
    "use_distributed_sampler": "data.order says in which order images come, and every rank has its part of it",
    "enable_model_summary": "a report tells the size of the network, and print(model) does",
    "default_root_dir": "paths.runs and name say where a run lies",
    "reload_dataloaders_every_n_epochs": "the order of images is a function of seed and epoch",
}
log = logging.getLogger(__name__)
HALF_WEIGHTS = ("16-true", "bf16-true")


class CompileNetwork(Callback):
    """Compiles the network in place at the start of training; its parameter names stay as they are."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        network: Any = pl_module.network
        if trainer.strategy.root_device.type == "cpu" and trainer.is_global_zero:
            log.warning(
                "trainer.compile=true is for GPUs: on the CPU the first steps take minutes and little is gained"
            )
            logging.getLogger("torch").setLevel(logging.ERROR)  # the compiler's own messages
        if network._compiled_call_impl is None:
            network.compile()


def make_trainer(
    *,
    callbacks: list[Callback] | None = None,
    compile: bool = False,
    strategy: str | Strategy = "auto",
    sync_batchnorm: bool = False,
    float32_matmul_precision: Literal["highest", "high", "medium"] | None = None,
    collective_timeout: float | None = None,
    **settings: Any,
) -> Trainer:
    """Return a lightning.Trainer.

    Args:
        callbacks: as Lightning takes them; see `in_order` for their order.
        compile: run the network through torch.compile.
        strategy: "auto" means ShardedDDPStrategy where there are several devices, the words of DDP_WORDS mean it
            everywhere; or an object.
        sync_batchnorm: batch norm sees the faces of all devices; on the CPU too.
        float32_matmul_precision: of float32 products outside the head, as torch.set_float32_matmul_precision has it:
            "highest" is float32, "high" TF32, "medium" bfloat16; None leaves what the process has. The head's own is
            classifier.matmul_precision.
        collective_timeout: minutes that a rank waits for the others in one collective before it ends the run; None:
            torch's own (30 on CPUs, 10 with NCCL). An epoch's first batches, a validation on rank 0 alone and a
            checkpoint on a slow disk all lie within it; the start does not, for which ranks wait ten minutes at least.
        settings: keyword arguments of lightning.Trainer.

    Raises:
        ValueError: for settings under which nothing would be trained, the class centres would be clipped, the weights
            lose their precision or be split over devices.
    """
    if settings.get("gradient_clip_val") is not None:
        raise ValueError(
            "trainer.gradient_clip_val clips every parameter: use system.clip_norm, which clips those the system names"
        )
    for name, instead in NOT_READ.items():
        if settings.get(name):  # false and 0 ask for what is so
            raise ValueError(f"trainer.{name} is read by nothing here: {instead}")
    for name in ("max_epochs", "max_steps"):
        if settings.get(name) == 0:
            raise ValueError(
                f"trainer.{name} is 0, so nothing would be trained: set a number of at least 1, or -1 for no limit of"
                " its kind"
            )
    if float32_matmul_precision is not None:
        if float32_matmul_precision not in ("highest", "high", "medium"):
            raise ValueError(
                "trainer.float32_matmul_precision must be highest, high, medium or null, got"
                f" {float32_matmul_precision!r}"
            )
        torch.set_float32_matmul_precision(float32_matmul_precision)
    if collective_timeout is not None and not 0 < collective_timeout < float("inf"):
        raise ValueError(f"trainer.collective_timeout must be minutes above 0, or null, got {collective_timeout}")
    waits = {} if collective_timeout is None else {"timeout": datetime.timedelta(minutes=collective_timeout)}
    precision = str(settings.get("precision"))
    if precision in HALF_WEIGHTS:
        raise ValueError(
            f"trainer.precision={precision} would keep the weights in half precision: use"
            f" {precision[: -len('-true')]}-mixed"
        )
    if isinstance(strategy, str) and strategy not in {"auto", *DDP_WORDS}:
        raise ValueError(
            f"trainer.strategy must be auto or one of {', '.join(DDP_WORDS)}, got {strategy!r}: clipping, class centres"
            " and checkpoints here need the whole backbone on each device, and processes that stay to the end"
        )
    parts = in_order([SkippedRecords(), *(callbacks or []), *([CompileNetwork()] if compile else [])])
    norms = SyncedBatchNorms()
    if sync_batchnorm:
        settings["plugins"] = [*(settings.get("plugins") or []), norms]
    settings |= {
        "callbacks": parts,
        "use_distributed_sampler": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
    }
    chosen = strategy
    if isinstance(strategy, str) and strategy in DDP_WORDS:
        chosen = ShardedDDPStrategy(**DDP_WORDS[strategy], **waits)
    elif isinstance(strategy, DDPStrategy) and waits:
        strategy._timeout = waits["timeout"]
    trainer = lightning.Trainer(strategy=chosen, **settings)
    if strategy == "auto" and type(trainer.strategy) is DDPStrategy:  # only Lightning knows how many devices there are
        trainer = lightning.Trainer(strategy=ShardedDDPStrategy(**waits), **settings)
    norms.on_cpu = trainer.strategy.root_device.type == "cpu"
    return trainer


def in_order(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return callbacks so that validation sees the average of its step, and a checkpoint what every callback knows
    after its step.

    The average comes first, callbacks with a state come before the checkpoint; else the order stays.
    """
    parts = sorted(callbacks, key=lambda part: not isinstance(part, WeightAverage))
    place = next((index for index, part in enumerate(parts) if isinstance(part, CheckpointWriter)), len(parts))
    late = [part for part in parts[place + 1 :] if _has_state(part)]
    return [*parts[:place], *late, *(part for part in parts[place:] if part not in late)]


def _has_state(part: Callback) -> bool:
    return (
        type(part).state_dict is not Callback.state_dict
        or type(part).on_save_checkpoint is not Callback.on_save_checkpoint
    )
