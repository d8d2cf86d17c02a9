"""RecognitionModule: what a step's loss is made of, re-derived part by part."""

from functools import partial
from typing import Any

import pytest
import torch

from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.data.augmentations import InTurn, RandomErasing
from transface.data.batches import FaceBatch
from transface.data.mixup import Mixup
from transface.data.transforms import normalise
from transface.margins.cosface import CosFace
from transface.systems.recognition.ehsm import EHSM
from transface.systems.recognition.module import RecognitionModule
from transface.training.optimizers import AdamW


def module_with(classifier: type = FullSoftmax, **parts: Any) -> RecognitionModule:
    torch.manual_seed(0)
    backbone = FaceViT(36, 9, embed_dim=16, depth=1, num_heads=2, embedding_size=8, drop_path_rate=0.0)
    module = RecognitionModule(backbone, classifier(5, 8, CosFace(16.0)), optimizer=partial(AdamW, lr=1e-3), flip_probability=0.0, **parts)
    module.log_dict = lambda *a, **k: None  # type: ignore[method-assign]
    return module.eval()


@pytest.fixture
def batch() -> FaceBatch:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (6, 3, 36, 36), generator=generator).to(torch.uint8)
    return FaceBatch(images, torch.tensor([0, 1, 2, 3, 4, 0]), torch.arange(6))


def loss_of(module: RecognitionModule, batch: FaceBatch) -> torch.Tensor:
    return module.losses(batch, torch.Generator().manual_seed(7)).total()


@pytest.mark.parametrize("classifier", [FullSoftmax, PartialFC])
@pytest.mark.parametrize("weighted", [False, True])
def test_mixed_faces_lose_for_both_people_by_their_shares(batch: FaceBatch, classifier: type, weighted: bool) -> None:
    mixup = Mixup(alpha=1.0, probability=0.7)
    module = module_with(classifier, mixup=mixup, weighting=EHSM() if weighted else None)
    generator = torch.Generator().manual_seed(7)
    torch.rand(6, generator=generator)  # what mirroring draws
    mixed = mixup(normalise(batch.images), generator)
    assert 0 < (mixed.ratio == 1).sum() < 6
    expected = []
    for place in range(6):
        features = module.backbone(mixed.images[place : place + 1])
        weight = EHSM()(features.tokens)[0] if weighted else 1.0
        own, other = (module.classifier(features.embedding, batch.labels[[face]])[0] for face in (place, int(mixed.other[place])))
        expected.append(weight * (mixed.ratio[place] * own + (1 - mixed.ratio[place]) * other))
    torch.testing.assert_close(loss_of(module, batch), torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)


def test_without_a_share_of_another_face_mixup_changes_nothing(batch: FaceBatch) -> None:
    torch.testing.assert_close(loss_of(module_with(mixup=Mixup(probability=0.0)), batch), loss_of(module_with(), batch))


def test_augmentation_comes_before_the_backbone(batch: FaceBatch) -> None:
    erasing = InTurn(erasing=RandomErasing(probability=1.0))
    module = module_with(augmentation=erasing)
    generator = torch.Generator().manual_seed(7)
    torch.rand(6, generator=generator)
    images = erasing(normalise(batch.images), generator)
    expected = module.classifier(module.backbone(images).embedding, batch.labels).mean()
    torch.testing.assert_close(loss_of(module, batch), expected)
    assert loss_of(module, batch) != loss_of(module_with(), batch)
