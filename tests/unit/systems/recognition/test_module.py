"""RecognitionModule: what a step's loss is made of, re-derived part by part."""

from functools import partial
from typing import Any

import pytest
import torch

from transface.backbones.face_vit import FaceViT
from transface.backbones.iresnet import IResNet
from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.data.augment.augmentations import InTurn, RandomErasing
from transface.data.augment.mixup import Mixup
from transface.data.batches import FaceBatch
from transface.images.pixels import normalise
from transface.margins.cosface import CosFace
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.ehsm import EHSM
from transface.systems.recognition.module import RecognitionModule
from transface.training.optimization.optimizers import AdamW


def module_with(classifier: type = FullSoftmax, **parts: Any) -> RecognitionModule:
    torch.manual_seed(0)
    backbone = FaceViT(36, 9, embed_dim=16, depth=1, num_heads=2, embedding_size=8, drop_path_rate=0.0)
    module = RecognitionModule(
        backbone, classifier(5, 8, CosFace(16.0)), optimizer=partial(AdamW, lr=1e-3), flip_probability=0.0, **parts
    )
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
        own, other = (
            module.classifier(features.embedding, batch.labels[[face]])[0] for face in (place, int(mixed.other[place]))
        )
        expected.append(weight * (mixed.ratio[place] * own + (1 - mixed.ratio[place]) * other))
    torch.testing.assert_close(loss_of(module, batch), torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)


def test_without_a_share_of_another_face_mixup_changes_nothing(batch: FaceBatch) -> None:
    torch.testing.assert_close(loss_of(module_with(mixup=Mixup(probability=0.0)), batch), loss_of(module_with(), batch))


@pytest.mark.parametrize("kind", [tuple, list, lambda parts: dict(enumerate(parts))])
def test_a_batch_of_another_make_is_refused_with_the_one_that_is_wanted(batch: FaceBatch, kind: Any) -> None:
    with pytest.raises(
        ValueError,
        match=r"a batch must be a FaceBatch\(images uint8 .* got (tuple|list|dict): let the loader's collate_fn",
    ):
        loss_of(module_with(), kind(batch))


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_sampled_centres_want_an_optimizer_that_moves_them_alone(optimizer: type[torch.optim.Optimizer]) -> None:
    backbone = FaceViT(36, 9, embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    for rate, refused in ((0.5, True), (1.0, False)):
        module = RecognitionModule(
            backbone, PartialFC(5, 8, CosFace(), sample_rate=rate), optimizer=partial(optimizer, lr=0.1)
        )
        if refused:
            with pytest.raises(
                ValueError, match=rf"torch\.optim.*\.{optimizer.__name__} does not: take AdamW or SGD of transface"
            ):
                module.configure_optimizers()
        else:
            assert isinstance(module.configure_optimizers(), optimizer)


def test_augmentation_comes_before_the_backbone(batch: FaceBatch) -> None:
    erasing = InTurn(erasing=RandomErasing(probability=1.0))
    module = module_with(augmentation=erasing)
    generator = torch.Generator().manual_seed(7)
    torch.rand(6, generator=generator)
    images = erasing(normalise(batch.images), generator)
    expected = module.classifier(module.backbone(images).embedding, batch.labels).mean()
    torch.testing.assert_close(loss_of(module, batch), expected)
    assert loss_of(module, batch) != loss_of(module_with(), batch)


@pytest.fixture
def half_frozen() -> RecognitionModule:
    backbone = IResNet((1, 1, 1, 1), image_size=32, embedding_size=8)
    classifier = FullSoftmax(4, 8, CosFace(scale=16.0, margin=0.2))
    return RecognitionModule(backbone, classifier, frozen=["conv1", "bn1", "layer1"], optimizer=partial(AdamW, lr=0.1))


def test_frozen_parts_stay_as_they_were(half_frozen: RecognitionModule) -> None:
    module = half_frozen
    assert not any(p.requires_grad for p in module.backbone.layer1.parameters()), "known when the module is built"
    module.train()
    assert module.backbone.layer2.training
    assert not module.backbone.layer1[0].bn1.training
    before = {name: value.clone() for name, value in module.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for group in module.parameter_groups() for p in group["params"]], lr=0.1)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    losses = module.losses(FaceBatch(images, torch.arange(4), torch.arange(4)), torch.Generator().manual_seed(0))
    losses.total().backward()
    optimizer.step()
    moved = {name for name, value in module.backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert {"layer2.0.conv1.weight", "layer2.0.bn1.running_mean", "fc.weight", "prelu.weight"} <= moved
    assert not {name for name in moved if name.startswith(("conv1", "bn1", "layer1"))}


def test_a_frozen_part_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="frozen part 'layer9' names no parameter"):
        RecognitionModule(
            IResNet((1, 1, 1, 1)), FullSoftmax(4, 512, CosFace()), frozen=["layer9"], optimizer=partial(AdamW, lr=0.1)
        )


@pytest.mark.parametrize("classifier", [FullSoftmax, PartialFC])
def test_a_model_in_float64_trains_in_float64(batch: FaceBatch, classifier: type) -> None:
    single = module_with(classifier, perturbation=DPAP(3, 1.0, scoring_precision=None), weighting=EHSM())
    double = module_with(classifier, perturbation=DPAP(3, 1.0, scoring_precision=None), weighting=EHSM()).double()
    loss = loss_of(double, batch)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss.float(), loss_of(single, batch), rtol=1e-3, atol=1e-3)
