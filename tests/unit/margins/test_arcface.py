"""transface.margins.arcface against the formula in plain Python."""

import math

import pytest
import torch

from transface.margins.arcface import ArcFace


def test_logits_are_the_paper_s_formula() -> None:
    generator = torch.Generator().manual_seed(3)
    cosines = torch.rand(20, 5, generator=generator, dtype=torch.float64) * 2 - 1
    labels = torch.randint(5, (20,), generator=generator)
    logits = ArcFace(30.0, 0.4)(cosines, labels)
    for b in range(20):
        for c in range(5):
            theta = math.acos(cosines[b, c].item())
            expected = 30 * math.cos(theta)
            if c == labels[b]:
                expected = 30 * (
                    math.cos(theta + 0.4) if theta + 0.4 <= math.pi else math.cos(theta) - 0.4 * math.sin(0.4)
                )
            assert logits[b, c].item() == pytest.approx(expected, abs=1e-9)


def test_margin_of_zero_is_plain_softmax() -> None:
    cosines = torch.linspace(-0.9, 0.9, 12, dtype=torch.float64).reshape(4, 3)
    assert torch.allclose(ArcFace(64.0, 0.0)(cosines, torch.tensor([0, 1, 2, 0])), 64 * cosines)


def test_the_exact_derivative_is_s_sin_of_the_sum_over_sin() -> None:
    theta = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    cosines = theta.cos().requires_grad_()
    (gradient,) = torch.autograd.grad(ArcFace().target_logits(cosines).sum(), cosines)
    assert torch.allclose(gradient, 64 * (theta + 0.5).sin() / theta.sin())


def test_the_released_derivative_is_s_and_its_value_has_no_guard() -> None:
    theta = torch.tensor([0.3, 1.0, 3.0], dtype=torch.float64)
    cosines = theta.cos().requires_grad_()
    logits = ArcFace(gradient="straight_through").target_logits(cosines)
    assert torch.allclose(logits, 64 * (theta + 0.5).cos())
    assert torch.equal(torch.autograd.grad(logits.sum(), cosines)[0], torch.full((3,), 64.0, dtype=torch.float64))


def test_another_gradient_word_is_refused() -> None:
    with pytest.raises(ValueError, match="gradient must be 'exact' or 'straight_through', got 'none'"):
        ArcFace(gradient="none")  # type: ignore[arg-type]
