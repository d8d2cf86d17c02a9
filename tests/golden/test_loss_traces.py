"""Short loss traces: a refactor leaves them equal; a change of maths renews them in its own commit
(TRANSFACE_RENEW_GOLDEN=1) and says why.
"""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.utils.data import Dataset

from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.data.batches import FaceBatch
from transface.margins.arcface import ArcFace
from transface.margins.cosface import CosFace
from transface.systems.recognition.datamodule import RecognitionData
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.ehsm import EHSM
from transface.systems.recognition.module import RecognitionModule
from transface.training.optimization.optimizers import SGD, AdamW
from transface.training.optimization.schedules import Polynomial
from transface.training.trainer import make_trainer

GOLDEN = Path(__file__).with_name("loss_traces.json")


class StripedFaces(Dataset):
    """Forty images of ten people: each person has stripes of an own width and colour, each image an own shift."""

    num_identities = 10

    def __init__(self) -> None:
        rows = torch.arange(36)
        person, shift = torch.arange(40) % 10, torch.arange(40) // 10
        wave = torch.sin((rows[None] + 3 * shift[:, None]) * (0.2 + 0.11 * person[:, None]))
        colour = torch.stack([person * 20 + 40, 240 - person * 20, 120 + 0 * person], dim=1)
        self.images = (
            (colour[:, :, None, None] * (0.75 + 0.25 * wave)[:, None, :, None]).expand(-1, -1, -1, 36).to(torch.uint8)
        )

    def __len__(self) -> int:
        return 40

    def __getitems__(self, indices: list[int]) -> FaceBatch:
        keys = torch.tensor(indices)
        return FaceBatch(self.images[keys], keys % 10, keys)


class Recorder(lightning.Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: torch.Tensor) -> None:
        self.losses.append(float(loss))


def parts(name: str) -> dict[str, Any]:
    released = {
        "perturbation": DPAP(3, probability=0.5, quantize=True, scoring_precision=None),
        "weighting": EHSM(entropy="std"),
    }
    return {
        "arcface": {"classifier": FullSoftmax(10, 16, ArcFace(32.0)), "optimizer": partial(AdamW, lr=2e-3)},
        "transface_paper": {
            "classifier": FullSoftmax(10, 16, ArcFace(32.0)),
            "perturbation": DPAP(3, probability=0.5, scoring_precision=None),
            "weighting": EHSM(),
            "optimizer": partial(AdamW, lr=2e-3),
        },
        "transface_released": {
            "classifier": FullSoftmax(10, 16, ArcFace(32.0, gradient="straight_through")),
            "optimizer": partial(AdamW, lr=2e-3),
        }
        | released,
        "partial_fc_cosface_sgd": {
            "classifier": PartialFC(10, 16, CosFace(32.0), sample_rate=0.6),
            "optimizer": partial(SGD, lr=0.05, momentum=0.9),
        },
    }[name]


def trace(name: str) -> list[float]:
    """Return the losses of twelve steps."""
    torch.manual_seed(4)
    backbone = FaceViT(
        36, 9, embed_dim=16, depth=2, num_heads=2, embedding_size=16, drop_path_rate=0.1, token_drop_rate=0.1
    )
    module = RecognitionModule(backbone, schedule=Polynomial(warmup_steps=3), clip_norm=1.0, **parts(name))
    data = RecognitionData(source=StripedFaces(), total_batch_size=8, num_workers=0)
    recorder = Recorder()
    trainer = make_trainer(
        callbacks=[recorder], accelerator="cpu", devices=1, max_steps=12, logger=False, enable_progress_bar=False
    )
    trainer.fit(module, datamodule=data)
    return recorder.losses


@pytest.mark.parametrize("name", ["arcface", "transface_paper", "transface_released", "partial_fc_cosface_sgd"])
def test_losses_are_those_of_the_golden_trace(name: str) -> None:
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    version = ".".join(torch.__version__.split(".")[:2])
    if os.environ.get("TRANSFACE_RENEW_GOLDEN"):
        GOLDEN.write_text(json.dumps(golden | {name: trace(name), "torch": version}, indent=1, sort_keys=True) + "\n")
        return
    if version != golden["torch"]:
        pytest.skip(f"the traces were made with the draws of torch {golden['torch']}, this is {version}")
    losses = trace(name)
    assert losses == pytest.approx(golden[name], rel=2e-3)
    assert losses[-1] < losses[0]
