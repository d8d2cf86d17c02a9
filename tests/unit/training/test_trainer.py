"""Devices, the order of callbacks, and that a compiled backbone learns what the plain one learns."""

import functools
import shutil
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.data.batches import FaceBatch
from transface.margins.cosface import CosFace
from transface.systems.recognition.module import RecognitionModule
from transface.training.callbacks.early_stopping import EarlyStopping
from transface.training.callbacks.failure_guards import NonFiniteGuard
from transface.training.callbacks.weight_averaging import WeightAverage
from transface.training.checkpoints.writer import CheckpointWriter
from transface.training.parallel.sharded_ddp import ShardedDDPStrategy
from transface.training.trainer import DDP_WORDS, in_order, make_trainer

STEPS, FACES, PEOPLE = 3, 4, 5


class Losses(lightning.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.values.append(float(outputs["loss"]))


def losses(*, compile: bool) -> list[float]:
    torch.manual_seed(0)
    backbone = FaceViT(patch_size=28, embed_dim=16, depth=1, num_heads=2, embedding_size=8, drop_path_rate=0.0)
    classifier = FullSoftmax(PEOPLE, 8, CosFace(16.0, 0.2))
    module = RecognitionModule(backbone, classifier, optimizer=functools.partial(torch.optim.AdamW, lr=0.01))
    images = torch.randint(
        256, (STEPS, FACES, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    labels = torch.arange(STEPS * FACES).reshape(STEPS, FACES) % PEOPLE
    loader = torch.utils.data.DataLoader(
        [FaceBatch(*parts) for parts in zip(images, labels, labels, strict=True)], batch_size=None
    )
    kept = Losses()
    make_trainer(
        callbacks=[kept], compile=compile, accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False
    ).fit(module, loader)
    assert (backbone._compiled_call_impl is not None) == compile
    return kept.values


@pytest.mark.parametrize("name", ["max_epochs", "max_steps"])
def test_a_run_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"trainer\.{name} is 0, so nothing would be trained"):
        make_trainer(accelerator="cpu", logger=False, **{name: 0})


def test_weights_in_half_precision_are_refused() -> None:
    with pytest.raises(ValueError, match="half precision: use bf16-mixed"):
        make_trainer(accelerator="cpu", logger=False, precision="bf16-true")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_backbone_has_the_losses_of_the_plain_one() -> None:
    plain = losses(compile=False)
    assert len(set(plain)) == STEPS
    assert losses(compile=True) == pytest.approx(plain, rel=1e-4)


def test_several_devices_keep_class_centres_apart_whichever_way_they_are_asked_for() -> None:
    quiet: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    for settings in (
        {"devices": 2},
        *({"devices": 2, "strategy": word} for word in DDP_WORDS),
        {"devices": 1, "num_nodes": 2},
    ):
        assert isinstance(make_trainer(**quiet, **settings).strategy, ShardedDDPStrategy), settings
    unused = make_trainer(**quiet, devices=2, strategy="ddp_find_unused_parameters_true").strategy
    assert unused._ddp_kwargs["find_unused_parameters"] is True
    assert isinstance(make_trainer(**quiet, devices=1).strategy, SingleDeviceStrategy)


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_2", "ddp_spawn", "ddp_fork", "dpp"])
def test_strategies_that_split_the_backbone_or_are_none_are_refused(strategy: str) -> None:
    with pytest.raises(ValueError, match=f"trainer.strategy must be auto or one of ddp, .*got '{strategy}'"):
        make_trainer(strategy=strategy)


def test_the_average_comes_first_and_the_checkpoint_after_all_that_it_holds(tmp_path: Path) -> None:
    class Plain(lightning.Callback):
        pass

    guard, writer, plain, stop, average = (
        NonFiniteGuard(tmp_path),
        CheckpointWriter(tmp_path),
        Plain(),
        EarlyStopping(),
        WeightAverage(),
    )
    assert in_order([plain, guard, writer, plain, stop, average]) == [average, plain, guard, stop, writer, plain]
    assert in_order([plain, stop]) == [plain, stop]
    assert in_order([]) == []


def test_clipping_of_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"system\.clip_norm"):
        make_trainer(gradient_clip_val=1.0)


def test_float32_products_have_the_precision_asked_for() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        make_trainer(accelerator="cpu", logger=False, float32_matmul_precision="high")
        assert torch.get_float32_matmul_precision() == "high"
        make_trainer(accelerator="cpu", logger=False)
        assert torch.get_float32_matmul_precision() == "high", "null leaves it"
    finally:
        torch.set_float32_matmul_precision(before)
    with pytest.raises(ValueError, match="highest, high, medium or null, got 'low'"):
        make_trainer(accelerator="cpu", logger=False, float32_matmul_precision="low")


@pytest.mark.parametrize("name", ["val_check_interval", "check_val_every_n_epoch", "enable_checkpointing"])
def test_a_setting_of_lightning_that_nothing_reads_is_refused_with_what_is_read(name: str) -> None:
    with pytest.raises(ValueError, match=f"trainer.{name} is read by nothing here: .*(validation|checkpoint)"):
        make_trainer(accelerator="cpu", **{name: 1})
    make_trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, num_sanity_val_steps=0)
