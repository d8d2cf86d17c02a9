"""A look at the method: each number re-derived, nothing of the model changed."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.margins.cosface import CosFace
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.ehsm import EHSM
from transface.systems.recognition.method_view import center_cosines, look


@pytest.fixture
def backbone() -> FaceViT:
    torch.manual_seed(2)
    return FaceViT(36, 9, embed_dim=16, depth=2, num_heads=2, embedding_size=8, drop_path_rate=0.3).train()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (6, 3, 36, 36), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


LABELS = torch.tensor([0, 3, 9, 3, 1, 2])


def test_numbers_are_those_of_the_model_in_eval_mode(backbone: FaceViT, images: torch.Tensor) -> None:
    classifier, weighting = FullSoftmax(10, 8, CosFace()), EHSM(gamma=0.7)
    view = look(images, LABELS, backbone=backbone, classifier=classifier, perturbation=DPAP(3), weighting=weighting)
    backbone.eval()
    with torch.no_grad():
        features = backbone(images / 127.5 - 1)
    tokens, embeddings = features.tokens.double().numpy(), features.embedding.double().numpy()
    entropy = 0.5 * np.log(2 * math.pi * math.e * tokens.var(axis=-1, ddof=1))
    np.testing.assert_allclose(view.entropy, entropy, rtol=1e-4)
    np.testing.assert_allclose(view.weights, 1 + np.exp(-0.7 * entropy.mean(axis=1)), rtol=1e-4)
    np.testing.assert_allclose(view.gate, features.patch_importance, rtol=1e-5)
    np.testing.assert_allclose(view.norms, np.linalg.norm(embeddings, axis=1), rtol=1e-5)
    centers = classifier.centers.detach().double().numpy()[LABELS]
    cosines = (embeddings * centers).sum(1) / np.linalg.norm(embeddings, axis=1) / np.linalg.norm(centers, axis=1)
    np.testing.assert_allclose(view.center_cosines, cosines, rtol=1e-4)
    assert set(view.distributions()) == {"token_entropy", "gate", "ehsm_weight", "center_cosine", "embedding_norm"}


def test_released_weighting_shows_its_own_entropy(backbone: FaceViT, images: torch.Tensor) -> None:
    view = look(images, LABELS, backbone=backbone, weighting=EHSM("std"))
    backbone.eval()
    with torch.no_grad():
        np.testing.assert_allclose(view.entropy, backbone(images / 127.5 - 1).tokens.std(dim=-1), rtol=1e-5)


def test_every_image_is_perturbed_in_its_dominant_patches_only(backbone: FaceViT, images: torch.Tensor) -> None:
    view = look(
        images, LABELS, backbone=backbone, perturbation=DPAP(3, 0.0), generator=torch.Generator().manual_seed(1)
    )
    before = images / 127.5 - 1
    changed = (view.perturbed - before).abs().amax(dim=1).unfold(1, 9, 9).unfold(2, 9, 9).amax(dim=(-1, -2)).flatten(
        1
    ) > 1e-5
    assert (changed.sum(dim=1) > 0).all()
    for row, ranking in zip(changed, view.ranking, strict=True):
        assert set(row.nonzero().flatten().tolist()) <= set(ranking.argsort(descending=True)[:3].tolist())
    torch.testing.assert_close(view.ranking.sigmoid(), view.gate, rtol=1e-4, atol=1e-5)


def test_looking_changes_nothing(backbone: FaceViT, images: torch.Tensor) -> None:
    backbone.neck.eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    flags, state = [module.training for module in backbone.modules()], torch.get_rng_state()
    look(
        images,
        LABELS,
        backbone=backbone,
        perturbation=DPAP(3),
        weighting=EHSM(),
        generator=torch.Generator().manual_seed(0),
    )
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert [module.training for module in backbone.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_a_plain_vit_has_no_gate_and_nothing_perturbed(images: torch.Tensor) -> None:
    backbone = FaceViT(36, 9, embed_dim=16, depth=1, num_heads=2, embedding_size=8, gate="none")
    view = look(images, LABELS, backbone=backbone, classifier=FullSoftmax(10, 8, CosFace()))
    assert view.gate is None
    assert view.perturbed is None
    assert view.weights is None
    assert set(view.distributions()) == {"token_entropy", "center_cosine", "embedding_norm"}


def test_only_centres_of_this_rank_are_compared() -> None:
    classifier = PartialFC(10, 4, CosFace())
    classifier.classes = type(classifier.classes)(2, 4)
    classifier.centers = nn.Parameter(torch.eye(4)[:2])
    embeddings = torch.tensor([[3.0, 0, 0, 0], [0, 2.0, 0, 0], [1.0, 1, 0, 0]])
    cosines = center_cosines(embeddings, torch.tensor([2, 2, 7]), classifier)
    assert cosines is not None
    assert cosines.tolist() == [1.0, 0.0]


def test_a_classifier_without_centres_has_no_cosines() -> None:
    assert center_cosines(torch.ones(1, 4), torch.zeros(1, dtype=torch.int64), nn.Identity()) is None
