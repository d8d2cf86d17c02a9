"""Ten steps with four accumulated batches equal ten steps with the batch four times as large (float64, no batch-norm,
no draws).
"""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transface.backbones.features import FaceFeatures
from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.data.batches import FaceBatch
from transface.margins.arcface import ArcFace
from transface.systems.recognition.datamodule import RecognitionData
from transface.systems.recognition.module import RecognitionModule
from transface.training.optimization.optimizers import SGD, AdamW
from transface.training.trainer import make_trainer


class Pixels(nn.Module):
    """A linear backbone of 8 x 8 images."""

    embedding_size, image_size, patch_size, grid_size = 6, (8, 8), 0, (0, 0)

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(192, 6)

    def forward(self, images: Tensor) -> FaceFeatures:
        return FaceFeatures(self.project(images.double().flatten(1)))


class Faces:
    num_identities = 5

    def __init__(self) -> None:
        self.images = torch.randint(
            0, 256, (160, 3, 8, 8), generator=torch.Generator().manual_seed(2), dtype=torch.uint8
        )

    def __len__(self) -> int:
        return 160

    def __getitems__(self, indices: list[int]) -> FaceBatch:
        keys = torch.tensor(indices)
        return FaceBatch(self.images[keys], keys % 5, keys)


def trained(classifier: type, optimizer: Any, accumulation: int, *, total: int = 16) -> dict[str, Tensor]:
    torch.manual_seed(1)
    module = RecognitionModule(
        Pixels().double(),
        classifier(5, 6, ArcFace(16.0)).double(),
        optimizer=optimizer,
        flip_probability=0.0,
        clip_norm=1.0,
    )
    data = RecognitionData(source=Faces(), total_batch_size=total, num_workers=0)
    settings = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
    trainer = make_trainer(max_epochs=1, accumulate_grad_batches=accumulation, **settings)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 160 // total
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("classifier", [FullSoftmax, PartialFC])
@pytest.mark.parametrize("optimizer", [partial(AdamW, lr=1e-2), partial(SGD, lr=0.1, momentum=0.9)])
def test_accumulated_batches_equal_a_larger_one(classifier: type, optimizer: Any) -> None:
    whole, accumulated = trained(classifier, optimizer, 1), trained(classifier, optimizer, 4)
    for name, value in whole.items():
        torch.testing.assert_close(
            accumulated[name], value, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_images_that_fill_no_whole_step_are_left_out_however_many_batches_a_step_accumulates() -> None:
    # 3 steps of 48 images and 16 more: of batches of 12 they would make a step of their own, at the whole rate.
    whole, accumulated = (trained(FullSoftmax, partial(SGD, lr=0.1), n, total=48) for n in (1, 4))
    for name, value in whole.items():
        torch.testing.assert_close(accumulated[name], value, rtol=1e-10, atol=1e-10)
