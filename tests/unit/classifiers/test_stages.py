"""Stages of a classifier and LVFace's two anchors: the formula, one stage of everything, changes, exact resume."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.classifiers.stages import Staged
from transface.classifiers.two_anchors import TwoAnchors
from transface.margins.cosface import CosFace
from transface.training.optimization.optimizers import AdamW

C, E, S = 11, 6, 16.0
LVFACE: tuple[dict[str, Any], ...] = (
    {"from_step": 0, "sample_rate": 0.4, "anchors": "centers"},
    {"from_step": 2, "anchors": "both"},
    {"from_step": 5, "sample_rate": 1.0, "expectation_update": "frozen", "margin.margin": 0.3},
)


def anchors(kind: type = FullSoftmax, **settings: Any) -> TwoAnchors:
    return TwoAnchors(kind(C, E, CosFace(S, 0.2)), margin=0.25, scale=S, **settings).double()


def batch(seed: int, count: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, E, generator=generator, dtype=torch.float64).requires_grad_(),
        torch.randint(C, (count,), generator=generator),
    )


def known(model: TwoAnchors, *, but: int | None = None) -> TwoAnchors:
    model.expectations.normal_()
    model.is_known.fill_(True)
    if but is not None:
        model.is_known[but] = False
    return model


@pytest.mark.parametrize("negatives", ["expectations", "centers"])
@pytest.mark.parametrize("kind", [FullSoftmax, PartialFC])
def test_the_loss_and_its_gradient_are_the_formula(kind: type, negatives: str) -> None:
    embeddings, labels = batch(1)
    model = known(anchors(kind, expectation_negatives=negatives), but=int(labels[0]))
    found = model(embeddings, labels)
    raw, x = model.classifier.centers.detach().clone().requires_grad_(), embeddings.detach().requires_grad_()
    own = F.one_hot(labels, C).bool()
    to_centers = F.normalize(x) @ F.normalize(raw).T
    to_expectations = F.normalize(x) @ F.normalize(model.expectations).T
    n_w = (S * to_centers).exp().masked_fill(own, 0).sum(1)
    n_e = (S * to_expectations).exp().masked_fill(own | ~model.is_known, 0).sum(1)
    n_e = n_w if negatives == "centers" else n_e
    first = n_w * (-S * (to_centers[own] - 0.2)).exp()
    second = (n_e * (-S * (to_expectations[own] - 0.25)).exp()) * model.is_known[labels]
    expected = (1 + first + second).log()
    torch.testing.assert_close(found, expected)
    of_faces, of_centers = torch.autograd.grad(expected.sum(), [x, raw])
    found.sum().backward()
    torch.testing.assert_close(embeddings.grad, of_faces)
    torch.testing.assert_close(model.classifier.centers.grad, of_centers)


def test_without_the_second_anchor_it_is_cosface_to_the_bit() -> None:
    model = known(anchors(anchors="centers"))
    embeddings, labels = batch(1)
    assert torch.equal(model(embeddings, labels), model.classifier(embeddings, labels))
    fresh = anchors()
    torch.testing.assert_close(fresh(embeddings, labels), fresh.classifier(embeddings, labels))


def test_expectations_move_by_the_mean_of_their_images_and_begin_at_it() -> None:
    model = known(anchors(), but=3)
    before = model.expectations.clone()
    embeddings = batch(2, 4)[0]
    labels = torch.tensor([5, 3, 5, 1])
    model(embeddings, labels)
    model.write_moved()
    x = F.normalize(embeddings.detach())
    means = {5: F.normalize(x[0] + x[2], dim=0), 1: x[3]}
    for c, mean in means.items():
        kept = torch.sigmoid(F.cosine_similarity(mean, before[c], dim=0))
        torch.testing.assert_close(model.expectations[c], kept * before[c] + (1 - kept) * mean)
    torch.testing.assert_close(model.expectations[3], x[1])
    others = [c for c in range(C) if c not in (1, 3, 5)]
    assert torch.equal(model.expectations[others], before[others])


def test_frozen_expectations_stay_and_unknown_classes_begin_at_their_first_face() -> None:
    model = known(anchors(expectation_update="frozen"), but=3)
    before = model.expectations.clone()
    embeddings = batch(2, 4)[0]
    model(embeddings, torch.tensor([5, 3, 5, 1]))
    state = model.state_dict()
    assert torch.equal(state["expectations"][[1, 5]], before[[1, 5]])
    torch.testing.assert_close(state["expectations"][3], F.normalize(embeddings[1].detach(), dim=0))
    model.eval()(*batch(3))
    assert torch.equal(model.state_dict()["expectations"], state["expectations"])


def run(model: nn.Module, steps: range, optimizer: AdamW | None = None) -> tuple[list[Tensor], AdamW]:
    optimizer = optimizer or AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    losses = []
    for step in steps:
        if isinstance(model, Staged):
            model.follow(step=step, epoch=step // 3)
        loss = model(*batch(step)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses, optimizer


@pytest.mark.parametrize("stages", [[{"from_epoch": 0}], [{"from_step": 0, "sample_rate": 0.4, "margin.margin": 0.2}]])
def test_one_stage_of_everything_is_the_run_of_today_to_the_bit(stages: list[dict[str, Any]]) -> None:
    plain = PartialFC(C, E, CosFace(S, 0.2), sample_rate=0.4).double()
    staged = Staged(copy.deepcopy(plain), stages)
    for one, two in zip(run(plain, range(6))[0], run(staged, range(6))[0], strict=True):
        assert torch.equal(one, two)
    assert torch.equal(plain.centers, staged.classifier.centers)


def test_settings_change_where_their_stage_begins_and_stay() -> None:
    staged = Staged(anchors(PartialFC, anchors="centers"), LVFACE)
    head = staged.classifier.classifier
    assert head.sample_rate == 0.4, "the optimizer is checked against the smallest share"
    found = []
    for step in range(7):
        staged.follow(step=step, epoch=0)
        two = staged.classifier
        found.append((staged.stage, head.sample_rate, two.anchors, two.expectation_update, head.margin.margin))
    assert found[:2] == [(0, 0.4, "centers", "moving", 0.2)] * 2
    assert found[2:5] == [(1, 0.4, "both", "moving", 0.2)] * 3
    assert found[5:] == [(2, 1.0, "both", "frozen", 0.3)] * 2


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 6])
def test_a_run_resumed_in_any_stage_ends_where_the_whole_one_ends(stop: int) -> None:
    def build() -> Staged:
        return Staged(anchors(PartialFC, anchors="centers"), LVFACE)

    whole, first, second = build(), build(), build()
    losses, _ = run(whole, range(8))
    _, optimizer = run(first, range(stop))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    again = AdamW(second.parameters(), lr=0.01, weight_decay=0.1)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    rest, _ = run(second, range(stop, 8), again)
    for one, two in zip(losses[stop:], rest, strict=True):
        assert torch.equal(one, two)
    assert torch.equal(whole.state_dict()["classifier.expectations"], second.state_dict()["classifier.expectations"])
    assert torch.equal(whole.classifier.classifier.centers, second.classifier.classifier.centers)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([], "at least one"),
        ([{"sample_rate": 0.1}], "must begin at one of from_epoch or from_step"),
        ([{"from_epoch": 1}], "first stage begins at 0"),
        ([{"from_epoch": 0}, {"from_step": 5}], "in one unit"),
        ([{"from_epoch": 0}, {"from_epoch": 4}, {"from_epoch": 4}], "one after the other"),
        ([{"from_epoch": 0, "sample_rat": 0.1}], "no setting 'sample_rat'"),
        ([{"from_epoch": 0, "sample_rate": 1.5}], "sample_rate must be above 0"),
        ([{"from_epoch": 0}, {"from_epoch": 2, "sample_rate": "all"}], "stage 1: sample_rate must be of the kind"),
        ([{"from_epoch": 0, "anchors": "three"}], "anchors must be one of centers, both"),
    ],
)
def test_stages_that_cannot_be_are_named(stages: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Staged(anchors(PartialFC), stages)


def test_two_anchors_of_two_scales_are_refused() -> None:
    with pytest.raises(ValueError, match="one scale"):
        TwoAnchors(FullSoftmax(C, E, CosFace(S, 0.2)), scale=64.0)


def test_stages_that_a_run_never_comes_to_are_named() -> None:
    staged = Staged(anchors(PartialFC), LVFACE)
    assert staged.unreached(steps=6, epochs=1) == []
    assert staged.unreached(steps=5, epochs=9) == ["stage 2 begins from step 5"]
    by_epoch = Staged(FullSoftmax(C, E, CosFace(S, 0.2)), [{"from_epoch": 0}, {"from_epoch": 3, "margin.margin": 0.3}])
    assert by_epoch.unreached(steps=999, epochs=3) == ["stage 1 begins from epoch 3"]
    assert by_epoch.unreached(steps=999, epochs=4) == []


@pytest.mark.parametrize("kind", [FullSoftmax, PartialFC])
def test_a_head_without_a_number_of_people_says_what_to_take(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"classifier.num_identities is not known: .*classifier=several_heads"):
        kind(None, E, CosFace(S, 0.2))
