"""Triplet distillation: the formula by hand, where gradients go, how triplets are chosen, both ends."""

import pytest
import torch

from transface.systems.occlusion.triplet_distillation import (
    age_relations,
    choose_triplets,
    chosen_loss,
    class_relations,
    triplet_distillation_loss,
)


def test_the_loss_of_two_classes_is_what_paper_and_pencil_give() -> None:
    anchor = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    positive = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    negative = torch.tensor([[0.0, 0.0], [3.0, 2.0]])
    assert triplet_distillation_loss(anchor, positive, negative, 0.5).tolist() == [
        0.5,
        0.0,
    ]  # 1 - 1 + .5; 0 - 9 + .5 < 0


def test_gradients_reach_anchor_and_negative_and_never_the_positive() -> None:
    parts = [torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    triplet_distillation_loss(*parts, margin=100.0).sum().backward()
    anchor, positive, negative = parts
    assert positive.grad is None
    assert torch.allclose(anchor.grad, 2 * (negative - positive).detach())
    assert torch.allclose(negative.grad, 2 * (anchor - negative).detach())


def test_a_negative_far_beyond_the_margin_costs_nothing() -> None:
    anchor = torch.zeros(1, 2, requires_grad=True)
    loss = triplet_distillation_loss(anchor, torch.zeros(1, 2), torch.full((1, 2), 9.0), 0.2)
    loss.sum().backward()
    assert loss.tolist() == [0.0]
    assert not anchor.grad.any()


@pytest.mark.parametrize("positive", ["self", "class", "mixed"])
@pytest.mark.parametrize("negative", ["semi_hard", "hardest"])
def test_chosen_triplets_are_of_the_classes_they_should_be(positive: str, negative: str) -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 4, (32,), generator=generator)
    student, teacher = (torch.randn(32, 8, generator=generator) for _ in range(2))
    found = choose_triplets(
        student,
        teacher,
        class_relations(classes),
        margin=0.5,
        positive=positive,
        negative=negative,
        generator=generator,
    )  # type: ignore[arg-type]
    assert found.valid.all()
    assert torch.equal(classes[found.positives], classes)
    assert (classes[found.negatives] != classes).all()
    if positive == "self":
        assert torch.equal(found.positives, torch.arange(32))


def test_semi_hard_negatives_are_the_nearest_beyond_the_positive_and_within_the_margin_else_the_nearest() -> None:
    generator = torch.Generator().manual_seed(1)
    classes = torch.randint(0, 3, (24,), generator=generator)
    student, teacher = (torch.randn(24, 4, generator=generator) for _ in range(2))
    margin = 1.0
    found = choose_triplets(
        student, teacher, class_relations(classes), margin=margin, positive="self", negative="semi_hard"
    )
    for a in range(24):
        near = float((student[a] - teacher[a]).square().sum())
        others = {n: float((student[a] - student[n]).square().sum()) for n in range(24) if classes[n] != classes[a]}
        wanted = {n: d for n, d in others.items() if near < d < near + margin} or others
        assert int(found.negatives[a]) == min(wanted, key=wanted.__getitem__)


def test_a_batch_of_one_class_gives_zero_and_no_nan() -> None:
    student = torch.randn(4, 3, requires_grad=True)
    found = choose_triplets(student, torch.randn(4, 3), class_relations(torch.zeros(4, dtype=torch.int64)), margin=0.2)
    loss = chosen_loss(student, torch.randn(4, 3), found, 0.2)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not student.grad.any()


def test_ages_are_alike_within_three_years_and_different_from_ten_on() -> None:
    found = age_relations(torch.tensor([20.0, 23.0, 29.0, 30.0, float("nan")]))
    assert found.same[0].tolist() == [True, True, False, False, False]
    assert found.different[0].tolist() == [False, False, False, True, False]
    assert not found.same[4].any()
    unknown = class_relations(torch.tensor([0, -1, 1]))
    assert not unknown.same[1].any()
    assert not unknown.different[1].any()


def test_parts_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        triplet_distillation_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1, 3), 0.1)
