"""Embedding distillation: naive formulas, invariances, where gradients go."""

import itertools
import math

import pytest
import torch

from transface.losses.embedding_distillation import (
    angle_relation_loss,
    distance_relation_loss,
    embedding_distillation,
    margin_distillation,
    relational_distillation,
)


def pair(count: int = 5, size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(count, size, dtype=torch.float64, generator=generator) for _ in range(2))
    return first, second


def test_mse_is_two_times_cosine_over_the_width() -> None:
    student, teacher = pair()
    cosine, mse = (float(embedding_distillation(kind, student, teacher)) for kind in ("cosine", "mse"))
    assert mse == pytest.approx(2 * cosine / 4, rel=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "mse", "relational"])
def test_a_student_equal_to_its_teacher_loses_nothing_and_the_teacher_gets_no_gradient(kind: str) -> None:
    student, teacher = pair()
    assert float(embedding_distillation(kind, teacher.clone(), teacher)) == pytest.approx(0, abs=1e-9)
    student.requires_grad_()
    teacher.requires_grad_()
    embedding_distillation(kind, student, teacher).backward()  # type: ignore[arg-type]
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_relations_are_the_formula_written_out() -> None:
    def huber(x: float) -> float:
        return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5

    sides = []
    for rows in pair():
        unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows.tolist()]
        apart = {(i, j): math.dist(unit[i], unit[j]) for i, j in itertools.product(range(5), repeat=2)}
        mean = sum(apart[i, j] for i, j in apart if i != j) / 20
        angles = {}
        for i, j, k in itertools.product(range(5), repeat=3):
            a = [x - y for x, y in zip(unit[j], unit[i], strict=True)]
            b = [x - y for x, y in zip(unit[k], unit[i], strict=True)]
            size = math.hypot(*a) * math.hypot(*b)
            angles[i, j, k] = sum(x * y for x, y in zip(a, b, strict=True)) / size if size else 0.0
        sides.append(({key: value / mean for key, value in apart.items()}, angles))
    student, teacher = pair()
    (d_s, a_s), (d_t, a_t) = sides
    assert float(distance_relation_loss(student, teacher)) == pytest.approx(
        sum(huber(d_s[k] - d_t[k]) for k in d_s) / 25, rel=1e-5
    )
    assert float(angle_relation_loss(student, teacher)) == pytest.approx(
        sum(huber(a_s[k] - a_t[k]) for k in a_s) / 125, rel=1e-5
    )


def test_relations_do_not_change_with_a_rotation_and_widths_may_differ() -> None:
    student, teacher = pair()
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    turned = float(relational_distillation(student @ rotation, teacher))
    assert turned == pytest.approx(float(relational_distillation(student, teacher)), rel=1e-8)
    wider = torch.cat([teacher, torch.zeros(5, 3, dtype=torch.float64)], 1)
    assert float(relational_distillation(student, wider)) == pytest.approx(
        float(relational_distillation(student, teacher)), rel=1e-8
    )
    assert float(relational_distillation(student[:1], teacher[:1])) == 0
    with pytest.raises(ValueError, match="one width"):
        embedding_distillation("cosine", student, wider)
    with pytest.raises(ValueError, match="kind must be"):
        embedding_distillation("l1", student, teacher)  # type: ignore[arg-type]


def test_the_margin_loss_is_arcface_over_the_teacher_s_faces_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([0, 1, 0, 2, 3])
    found = margin_distillation(student, teacher, labels, scale=10.0, margin=0.4)
    unit_s, unit_t = (x / x.norm(dim=1, keepdim=True) for x in (student, teacher))
    for i in range(5):
        terms = []
        for j in range(5):
            angle = math.acos(float(unit_s[i] @ unit_t[j]))
            if i == j:
                terms.insert(0, 10.0 * math.cos(angle + 0.4))
            elif labels[i] != labels[j]:
                terms.append(10.0 * math.cos(angle))
        assert float(found[i]) == pytest.approx(math.log(sum(math.exp(t) for t in terms)) - terms[0], rel=1e-9)


def test_the_margin_loss_is_finite_at_equal_and_opposite_embeddings_and_leaves_the_teacher_alone() -> None:
    teacher = torch.eye(4, dtype=torch.float64, requires_grad=True)
    for sign in (1, -1):
        student = (sign * torch.eye(4, dtype=torch.float64)).requires_grad_()
        loss = margin_distillation(student, teacher).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(loss)
        assert student.grad is not None
        assert torch.isfinite(student.grad).all()
    assert teacher.grad is None
    one = margin_distillation(torch.randn(1, 3), torch.randn(1, 3))
    assert one.tolist() == [0.0]
    with pytest.raises(ValueError, match="a margin in"):
        margin_distillation(torch.eye(2), torch.eye(2), margin=2.0)
