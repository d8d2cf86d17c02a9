"""UniFace: the formula in plain Python, its learned threshold, its clamp, sampled classes."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.margins.uniface import UniFace

B, C, E = 9, 13, 6


def faces() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    embeddings = torch.randn(B, E, generator=generator, dtype=torch.float64).requires_grad_()
    centers = torch.randn(C, E, generator=generator, dtype=torch.float64)
    return embeddings, centers, torch.randint(C, (B,), generator=generator)


def head_with(margin: UniFace, centers: torch.Tensor, chunk_size: int | None = 4) -> FullSoftmax:
    head = FullSoftmax(C, E, margin.double(), chunk_size=chunk_size)
    head.centers = nn.Parameter(centers.clone())
    return head


@pytest.mark.parametrize(("scale", "chunk_size"), [(16.0, 1), (16.0, 5), (64.0, None)])
def test_loss_is_the_paper_s_formula(scale: float, chunk_size: int | None) -> None:
    embeddings, centers, labels = faces()
    margin = UniFace(C, scale, margin=0.3, others_weight=0.25)
    found = head_with(margin, centers, chunk_size)(embeddings, labels)
    b = margin.threshold.item()
    assert b == pytest.approx(math.log(10 * C))
    for row in range(B):
        cosines = [float(embeddings[row] @ centers[j] / embeddings[row].norm() / centers[j].norm()) for j in range(C)]
        inside = [max(-scale, min(scale, scale * c - b)) for c in cosines]
        own = max(-scale, min(scale, scale * (cosines[labels[row]] - 0.3) - b))
        others = sum(math.log1p(math.exp(x)) for j, x in enumerate(inside) if j != labels[row])
        assert found[row].item() == pytest.approx(math.log1p(math.exp(-own)) + 0.25 * others, rel=1e-9)


def test_gradients_of_faces_centres_and_threshold_are_those_of_the_whole_matrix() -> None:
    embeddings, centers, labels = faces()
    weights = torch.rand(B, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    margin = UniFace(C, 16.0, margin=0.3)
    head = head_with(margin, centers)
    (head(embeddings, labels) * weights).sum().backward()
    found = [embeddings.grad, head.centers.grad, margin.threshold.grad]
    whole, raw = embeddings.detach().requires_grad_(), centers.clone().requires_grad_()
    threshold = margin.threshold.detach().clone().requires_grad_()
    cosines = F.normalize(whole) @ F.normalize(raw).T
    own = F.one_hot(labels, C).bool()
    arguments = (16 * (cosines - 0.3 * own.double()) - threshold).clamp(-16, 16)
    losses = torch.where(own, F.softplus(-arguments, threshold=99), F.softplus(arguments, threshold=99)).sum(1)
    expected = torch.autograd.grad((losses * weights).sum(), [whole, raw, threshold])
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


def test_the_loss_adds_over_the_classes() -> None:
    embeddings, centers, labels = faces()
    labels = labels % 6
    first = {"first_threshold": 3.0}
    whole = head_with(UniFace(C, 16.0, **first), centers)(embeddings, labels)
    near = FullSoftmax(6, E, UniFace(6, 16.0, **first).double())
    near.centers = nn.Parameter(centers[:6])
    cosines = F.normalize(embeddings) @ F.normalize(centers[6:]).T
    rest = F.softplus(16 * cosines - 3.0, threshold=99).sum(1)
    torch.testing.assert_close(whole, near(embeddings, labels) + rest)


def test_only_sampled_classes_count_and_the_first_threshold_knows_the_share() -> None:
    embeddings, centers, labels = faces()
    margin = UniFace(C, 16.0, sample_rate=0.7).double()
    assert margin.threshold.item() == pytest.approx(math.log(10 * C * 0.7))
    head = PartialFC(C, E, margin, sample_rate=0.7)
    head.centers = nn.Parameter(centers.clone())
    classes = torch.cat([labels.unique(), torch.tensor([c for c in range(C) if c not in labels][:1])]).sort().values
    loss = head(embeddings, labels, classes=classes)
    part = FullSoftmax(len(classes), E, margin)
    part.centers = nn.Parameter(centers[classes].clone())
    torch.testing.assert_close(loss, part(embeddings, torch.searchsorted(classes, labels)))
    loss.sum().backward()
    assert margin.threshold.grad.isfinite()


def test_one_class_alone_has_no_others() -> None:
    head = FullSoftmax(1, E, UniFace(1, 16.0))
    embeddings = torch.randn(3, E).requires_grad_()
    losses = head(embeddings, torch.zeros(3, dtype=torch.int64))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_identities": 0}, "num_identities"),
        ({"margin": -0.1}, "margin"),
        ({"others_weight": -1.0}, "others_weight"),
        ({"sample_rate": 0.0}, "sample_rate"),
        ({"scale": 0.0}, "scale"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        UniFace(**({"num_identities": 5} | settings))
