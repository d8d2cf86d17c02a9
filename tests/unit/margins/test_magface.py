"""transface.margins.magface against the formula in plain Python."""

import math

import pytest
import torch

from transface.margins.magface import MagFace

NORMS = torch.tensor([1.0, 10.0, 35.0, 110.0, 300.0], dtype=torch.float64)


def test_logits_and_regulariser_are_the_paper_s_formulas() -> None:
    margin = MagFace(
        32.0, 10.0, highest_norm=110.0, lowest_margin_radians=0.4, highest_margin_radians=0.9, regulariser_weight=20.0
    )
    cosines = torch.tensor([0.9, 0.2, -0.3, -0.95, 0.5], dtype=torch.float64)
    logits, regulariser = margin.target_logits(cosines, NORMS), margin.regulariser(NORMS)
    for b in range(5):
        norm = min(max(NORMS[b].item(), 10.0), 110.0)
        m = 0.4 + 0.5 * (norm - 10) / 100
        theta = math.acos(cosines[b].item())
        moved = math.cos(theta + m) if theta + m <= math.pi else math.cos(theta) - m * math.sin(m)
        assert logits[b].item() == pytest.approx(32 * moved, abs=1e-9)
        assert regulariser[b].item() == pytest.approx(20 * (1 / norm + norm / 110**2), abs=1e-12)


def test_the_regulariser_pulls_norms_up_to_the_highest() -> None:
    norms = torch.tensor([10.5, 35.0, 109.99, 300.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(MagFace().regulariser(norms).sum(), norms)
    assert (gradient[:3] < 0).all()
    assert gradient[2].item() == pytest.approx(0, abs=1e-5)
    assert gradient[3] == 0


def test_the_margin_s_gradient_reaches_the_norms() -> None:
    norms = torch.tensor([30.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        MagFace().target_logits(torch.tensor([0.3], dtype=torch.float64), norms).sum(), norms
    )
    assert gradient.item() < 0


def test_norms_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="lowest_norm < highest_norm, got 120"):
        MagFace(lowest_norm=120.0)
    with pytest.raises(ValueError, match="norms must be finite"):
        MagFace(highest_norm=float("inf"))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_regulariser_weight_of_no_use_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="regulariser_weight must be finite and at least 0"):
        MagFace(regulariser_weight=weight)


def test_the_easy_margin_leaves_cosines_that_are_not_positive() -> None:
    cosines, norms = torch.tensor([-0.7, 0.0, 0.3], dtype=torch.float64), torch.full((3,), 40.0, dtype=torch.float64)
    everywhere, easy = (
        MagFace(applies_to=which).target_logits(cosines, norms) for which in ("all", "positive_cosines")
    )
    assert torch.equal(easy[:2], 64 * cosines[:2])
    assert easy[2] == everywhere[2]
    assert (everywhere[:2] < easy[:2]).all()
