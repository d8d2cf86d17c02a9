"""Soft targets and age distributions: naive formulas, both ends, gradients."""

import math

import pytest
import torch
from torch.nn import functional as F

from transface.losses.soft_targets import (
    age_distribution,
    age_distribution_loss,
    age_interval,
    expected_age,
    soft_target_divergence,
)


def test_the_divergence_is_the_formula_and_zero_at_equality() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    for temperature in (1.0, 4.0, 20.0):
        for row in range(5):
            p = [math.exp(x / temperature) for x in teacher[row].tolist()]
            q = [math.exp(x / temperature) for x in student[row].tolist()]
            p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
            naive = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            assert float(soft_target_divergence(student, teacher, temperature)[row]) == pytest.approx(naive, rel=1e-9)
    assert soft_target_divergence(teacher, teacher).abs().max() == 0


def test_the_size_of_the_gradient_depends_little_on_the_temperature() -> None:
    teacher, norms = 2 * torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), []
    for temperature in (1.0, 2.0, 4.0, 8.0, 20.0):
        student = (0.5 * torch.randn(64, 8, generator=torch.Generator().manual_seed(1))).requires_grad_()
        soft_target_divergence(student, teacher, temperature).mean().backward()
        norms.append(float(student.grad.norm()))
    assert max(norms) / min(norms) < 2


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    soft_target_divergence(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None
    with pytest.raises(ValueError, match="temperature"):
        soft_target_divergence(student, teacher, 0.0)
    with pytest.raises(ValueError, match="alike"):
        soft_target_divergence(student, teacher[:, :2])


def test_an_age_distribution_sums_to_one_and_its_mean_is_the_age() -> None:
    ages = torch.tensor([0.0, 20.0, 33.5, 116.0], dtype=torch.float64)
    found = age_distribution(ages, 117)
    assert torch.allclose(found.sum(1), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(expected_age(found[1:3].log()), ages[1:3], atol=1e-6)


def test_the_interval_holds_the_weight_it_says() -> None:
    logits = age_distribution(torch.tensor([40.0]), 117, spread=5.0).log()
    low, high = age_interval(logits)[0].tolist()
    assert low == pytest.approx(40 - 1.645 * 5, abs=1)
    assert high == pytest.approx(40 + 1.645 * 5, abs=1)
    certain = torch.full((1, 117), -50.0)
    certain[0, 7] = 50.0
    assert age_interval(certain)[0].tolist() == [7.0, 7.0]


def test_the_age_loss_is_least_at_the_true_age() -> None:
    ages = torch.tensor([30.0])
    own, off = (age_distribution(torch.tensor([a]), 117).clamp_min(1e-30).log() for a in (30.0, 36.0))
    entropy = float(-(own.exp() * own).sum())
    assert float(age_distribution_loss(own, ages)) == pytest.approx(entropy, rel=1e-4)
    assert age_distribution_loss(off, ages) > age_distribution_loss(own, ages)
    assert torch.isfinite(F.softmax(off, 1)).all()
