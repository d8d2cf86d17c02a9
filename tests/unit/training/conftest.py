"""A training run small enough for a test: noise, a tiny backbone, the real module, trainer and checkpoint writer."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.data.batches import FaceBatch
from transface.margins.cosface import CosFace
from transface.systems.recognition.datamodule import RecognitionData
from transface.systems.recognition.module import RecognitionModule
from transface.training.optimization.optimizers import AdamW
from transface.training.trainer import make_trainer


class NoiseFaces(Dataset):
    """Forty images of ten people, fetched a batch at a time."""

    num_identities = 10

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randint(0, 256, (40, 3, 36, 36), generator=generator, dtype=torch.uint8)

    def __len__(self) -> int:
        return 40

    def __getitems__(self, indices: list[int]) -> FaceBatch:
        keys = torch.tensor(indices)
        return FaceBatch(self.images[keys], keys % 10, keys)


def tiny_module(classifier: nn.Module | None = None, **settings: Any) -> RecognitionModule:
    """Return a RecognitionModule on a two-block ViT of 36-pixel images."""
    torch.manual_seed(3)
    backbone = FaceViT(36, 9, embed_dim=16, depth=2, num_heads=2, embedding_size=16, drop_path_rate=0.2)
    classifier = classifier or FullSoftmax(10, 16, CosFace(scale=16.0, margin=0.2))
    return RecognitionModule(backbone, classifier, **{"optimizer": partial(AdamW, lr=1e-3)} | settings)


def first(batch: FaceBatch) -> FaceBatch:
    return batch


def run(
    module: nn.Module, callbacks: list[Any], *, steps: int = 8, ckpt_path: Path | None = None, **settings: Any
) -> lightning.Trainer:
    """Train for some steps on the CPU without logging."""
    loader: DataLoader[Tensor] = DataLoader(NoiseFaces(), batch_size=8, collate_fn=first)
    trainer = make_trainer(
        callbacks=callbacks,
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        **settings,
    )
    trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=False)
    return trainer


def run_data(
    module: nn.Module, callbacks: list[Any], *, ckpt_path: Path | None = None, **settings: Any
) -> lightning.Trainer:
    """Train through RecognitionData: two epochs of five batches of eight."""
    accumulation = settings.pop("accumulate_grad_batches", 1)
    total = settings.pop("total_batch_size", 8 * accumulation)
    data = RecognitionData(
        source=NoiseFaces(), total_batch_size=total, num_workers=settings.pop("num_workers", 0), seed=5
    )
    settings = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
    } | settings
    trainer = make_trainer(callbacks=callbacks, accumulate_grad_batches=accumulation, **settings)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return trainer


@pytest.fixture
def train_on_data() -> Callable[..., lightning.Trainer]:
    return run_data


@pytest.fixture
def make_module() -> Callable[..., RecognitionModule]:
    return tiny_module


@pytest.fixture
def train() -> Callable[..., lightning.Trainer]:
    return run
