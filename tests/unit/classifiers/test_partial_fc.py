"""transface.classifiers.partial_fc on one process: equal to full softmax, what it samples, and that only sampled rows
move.
"""

import pytest
import torch
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.margins.arcface import ArcFace
from transface.training.optimization.optimizers import SGD, AdamW

C, E, B = 200, 8, 10


def faces() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(B, E, generator=generator), torch.randint(C, (B,), generator=generator)


def test_a_rate_of_one_on_one_process_is_full_softmax() -> None:
    embeddings, labels = faces()
    split, full = PartialFC(C, E, ArcFace(), seed=4), FullSoftmax(C, E, ArcFace(), seed=4)
    assert torch.equal(split.centers, full.centers)
    assert torch.equal(split(embeddings, labels), full(embeddings, labels))


def test_a_sampled_loss_is_the_softmax_over_the_sampled_classes() -> None:
    embeddings, labels = faces()
    classifier = PartialFC(C, E, ArcFace(), sample_rate=0.3, chunk_size=7)
    classes = classifier.sample(labels)
    cosines = F.normalize(embeddings) @ F.normalize(classifier.centers[classes]).T
    positions = torch.tensor([classes.tolist().index(label) for label in labels.tolist()])
    expected = F.cross_entropy(ArcFace()(cosines, positions), positions, reduction="none")
    torch.testing.assert_close(classifier(embeddings, labels, classes=classes), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.999])
def test_a_draw_holds_all_own_classes_and_others_up_to_the_rate(rate: float) -> None:
    _, labels = faces()
    classifier = PartialFC(C, E, ArcFace(), sample_rate=rate)
    draws = [classifier.sample(labels) for _ in range(20)]
    for classes in draws:
        assert set(labels.tolist()) <= set(classes.tolist())
        assert len(classes) == len(classes.unique()) == int(rate * C)
        assert torch.equal(classes, classes.sort().values)
    assert len({tuple(classes.tolist()) for classes in draws}) > 1
    if rate == 0.5:
        assert len(torch.cat(draws).unique()) == C


def test_more_own_classes_than_the_rate_are_all_kept_and_no_others() -> None:
    labels = torch.arange(0, 60, 2)
    assert torch.equal(PartialFC(C, E, ArcFace(), sample_rate=0.1).sample(labels), labels)


def test_draws_go_on_where_a_saved_state_left_off() -> None:
    _, labels = faces()
    first, second = (PartialFC(C, E, ArcFace(), sample_rate=0.2) for _ in range(2))
    for _ in range(3):
        first.sample(labels)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.sample(labels), second.sample(labels))


@pytest.mark.parametrize(
    "make", [lambda p: AdamW(p, lr=0.1, weight_decay=0.1), lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1)]
)
def test_only_sampled_rows_move(make) -> None:
    embeddings, labels = faces()
    classifier = PartialFC(C, E, ArcFace(), sample_rate=0.1)
    optimizer = make([classifier.centers])
    for _ in range(4):
        before = classifier.centers.detach().clone()
        optimizer.zero_grad()
        classifier(embeddings, labels).mean().backward()
        sampled = classifier.centers.grad.coalesce().indices()[0]
        optimizer.step()
        moved = (classifier.centers != before).any(dim=1).nonzero().flatten()
        assert torch.equal(moved, sampled)
        assert len(sampled) == 20


def test_evaluation_uses_all_classes() -> None:
    embeddings, labels = faces()
    sampled, full = PartialFC(C, E, ArcFace(), sample_rate=0.1).eval(), FullSoftmax(C, E, ArcFace()).eval()
    assert torch.equal(sampled(embeddings, labels), full(embeddings, labels))


@pytest.mark.parametrize("rate", [0.0, 1.2, -0.1])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=f"sample_rate must be above 0 and at most 1, got {rate}"):
        PartialFC(C, E, ArcFace(), sample_rate=rate)
