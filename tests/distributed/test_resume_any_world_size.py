"""A run with sharded centres and batch norm, stopped after an epoch and resumed on another number of ranks: the same
next loss and the same end.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from torch import Tensor, nn

from transface.backbones.features import FaceFeatures
from transface.classifiers.partial_fc import PartialFC
from transface.data.batches import FaceBatch
from transface.distributed import world_size
from transface.margins.adaface import AdaFace
from transface.systems.recognition.module import RecognitionModule
from transface.training.checkpoints.writer import CheckpointWriter
from transface.training.optimization.optimizers import AdamW
from transface.training.parallel.sharded_ddp import ShardedDDPStrategy
from transface.training.parallel.synced_batch_norm import SyncedBatchNorms

CLASSES, SIZE, FACES, BATCHES = 23, 4, 24, 3


class FirstLoss(lightning.Callback):
    """Keeps the loss of the first step."""

    loss = torch.tensor(float("nan"))

    def on_before_backward(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: Tensor
    ) -> None:
        if self.loss.isnan():
            self.loss = loss.detach().clone()


class Pool(nn.Module):
    embedding_size, image_size, patch_size, grid_size = SIZE, (112, 112), 0, (0, 0)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.norm = nn.Linear(3, SIZE), nn.BatchNorm1d(SIZE)

    def forward(self, images: Tensor) -> FaceFeatures:
        return FaceFeatures(self.norm(self.linear(images.mean(dim=(2, 3)))))


def batches(rank: int) -> list[FaceBatch]:
    generator = torch.Generator().manual_seed(1)
    colours = torch.randint(256, (BATCHES, FACES, 3, 1, 1), generator=generator, dtype=torch.uint8).expand(
        -1, -1, -1, 112, 112
    )
    labels = torch.randint(CLASSES, (BATCHES, FACES), generator=generator)
    return [
        FaceBatch(*(part.tensor_split(world_size())[rank] for part in whole))
        for whole in zip(colours, labels, labels, strict=True)
    ]


def fit(rank: int, folder: Path, *, epochs: int, resume: Path | None, port: int) -> dict[str, Tensor]:
    ranks = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "GROUP_RANK": 0,
        "WORLD_SIZE": world_size(),
        "LOCAL_WORLD_SIZE": world_size(),
    }
    os.environ |= {name: str(value) for name, value in ranks.items()} | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    module = RecognitionModule(
        Pool(),
        PartialFC(CLASSES, SIZE, AdaFace(16.0, momentum=0.2), sample_rate=0.6),
        flip_probability=0.0,
        optimizer=lambda groups: AdamW(groups, lr=0.05),
    )
    settings: dict[str, Any] = {"strategy": "auto"}
    if world_size() > 1:
        settings = {
            "strategy": ShardedDDPStrategy(),
            "plugins": [TorchElasticEnvironment(), SyncedBatchNorms()],
            "devices": world_size(),
        }
    first = FirstLoss()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[first, CheckpointWriter(folder, every_n_steps=None)],
        **settings,
    )
    loader = torch.utils.data.DataLoader(batches(rank), batch_size=None)
    trainer.fit(
        module, loader, ckpt_path=None if resume is None else str(resume), weights_only=None if resume is None else True
    )
    moments = trainer.optimizers[0].state[module.classifier.centers]
    return {
        "weight": module.backbone.linear.weight.detach(),
        "centers": module.classifier.centers.detach(),
        "second_moments": moments["exp_avg_sq"],
        "norm_mean": module.classifier.margin.norm_mean[None],
        "batch_norm_variance": module.backbone.norm.running_var,
        "logged_loss": trainer.callback_metrics["train/loss"],
        "first_loss": first.loss,
    }


def whole(results: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    sharded = {name: torch.cat([result[name] for result in results]) for name in ("centers", "second_moments")}
    # DDP averages over ranks, and the loss of each is scaled so that their mean is that of all faces.
    replicated = {name: results[0][name] for name in ("weight", "norm_mean", "batch_norm_variance", "logged_loss")}
    assert all(torch.equal(result["logged_loss"], results[0]["logged_loss"]) for result in results)
    return sharded | replicated | {"first_loss": torch.stack([result["first_loss"] for result in results]).mean()}


@pytest.fixture
def fit_on(run_ranks: Any) -> Callable[..., dict[str, Tensor]]:
    def run(ranks: int, folder: Path, **settings: Any) -> dict[str, Tensor]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        return whole(run_ranks(ranks, lambda rank: fit(rank, folder, port=port, **settings)))

    return run


def test_a_run_of_two_ranks_goes_on_on_one_two_and_three(fit_on: Any, tmp_path: Path) -> None:
    straight = fit_on(2, tmp_path / "straight", epochs=2, resume=None)
    del straight["first_loss"]  # of another step than the resumed runs' first
    fit_on(2, tmp_path / "first", epochs=1, resume=None)
    saved = tmp_path / "first" / f"step-{BATCHES:09d}" / "trainer.ckpt"
    content = torch.load(saved, weights_only=True)
    assert "classifier.centers" not in content["state_dict"]
    assert len(list(saved.parent.glob("centers-*.safetensors"))) == 2
    for ranks in (1, 2, 3):
        resumed = fit_on(ranks, tmp_path / f"on{ranks}", epochs=2, resume=saved)
        for name, value in straight.items():
            if ranks == 2:
                assert torch.equal(resumed[name], value), name
            torch.testing.assert_close(
                resumed[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.slow
def test_the_next_step_after_four_ranks_is_the_same_on_one_two_three_and_eight(fit_on: Any, tmp_path: Path) -> None:
    fit_on(4, tmp_path / "first", epochs=1, resume=None)
    saved = tmp_path / "first" / f"step-{BATCHES:09d}" / "trainer.ckpt"
    assert len(list(saved.parent.glob("centers-*.safetensors"))) == 4
    expected = fit_on(4, tmp_path / "on4", epochs=2, resume=saved)
    for ranks in (1, 2, 3, 8):
        resumed = fit_on(ranks, tmp_path / f"on{ranks}", epochs=2, resume=saved)
        assert float(resumed["first_loss"]) == pytest.approx(float(expected["first_loss"]), rel=1e-6)
        for name, value in expected.items():
            torch.testing.assert_close(
                resumed[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
            )
