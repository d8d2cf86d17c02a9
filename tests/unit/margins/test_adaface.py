"""transface.margins.adaface against the formula in plain Python."""

import math

import pytest
import torch

from transface.margins.adaface import AdaFace


def test_logits_are_the_paper_s_formula_with_the_running_statistics() -> None:
    generator = torch.Generator().manual_seed(5)
    cosines = torch.rand(16, 4, generator=generator, dtype=torch.float64) * 2 - 1
    labels, norms = (
        torch.randint(4, (16,), generator=generator),
        torch.rand(16, generator=generator, dtype=torch.float64) * 200,
    )
    margin = AdaFace(momentum=0.5).double().train()
    logits = margin(cosines, labels, norms)
    clipped = [min(max(norm, 0.001), 100) for norm in norms.tolist()]
    average = sum(clipped) / 16
    mean = 0.5 * 20 + 0.5 * average
    std = 0.5 * 100 + 0.5 * math.sqrt(sum((norm - average) ** 2 for norm in clipped) / 15)
    for b in range(16):
        z = max(-1, min(1, 0.333 * (clipped[b] - mean) / (std + 1e-3)))
        for c in range(4):
            theta = math.acos(cosines[b, c].item())
            expected = 64 * cosines[b, c].item()
            if c == labels[b]:
                expected = 64 * (math.cos(min(math.pi, max(0.0, theta - 0.4 * z))) - (0.4 + 0.4 * z))
            assert logits[b, c].item() == pytest.approx(expected, abs=1e-6)


def test_a_norm_at_the_mean_is_cosface_and_a_low_norm_turns_the_angle() -> None:
    margin = AdaFace().double()
    cosine = torch.tensor([0.5], dtype=torch.float64)
    assert margin.target_logits(cosine, torch.tensor([20.0])).item() == pytest.approx(64 * 0.1)
    margin.norm_std.fill_(0.1)
    low = margin.target_logits(cosine, torch.tensor([1.0])).item()
    assert low == pytest.approx(64 * math.cos(math.acos(0.5) + 0.4))


def test_norms_carry_no_gradient() -> None:
    norms = torch.tensor([15.0, 30.0], requires_grad=True)
    logits = AdaFace().target_logits(torch.tensor([0.1, 0.2], requires_grad=True), norms)
    assert torch.autograd.grad(logits.sum(), norms, allow_unused=True)[0] is None


def test_a_batch_of_one_moves_the_mean_only() -> None:
    margin = AdaFace(momentum=0.5)
    margin.update(torch.tensor([0.1]), torch.tensor([40.0]))
    assert (margin.norm_mean.item(), margin.norm_std.item()) == (30.0, 100.0)


@pytest.mark.parametrize("concentration", [-1.0, float("nan"), float("inf")])
def test_a_concentration_of_no_use_is_refused(concentration: float) -> None:
    with pytest.raises(ValueError, match=f"concentration must be finite and at least 0, got {concentration}"):
        AdaFace(concentration=concentration)


def test_missing_norms_are_asked_for() -> None:
    with pytest.raises(ValueError, match="needs the embedding norms"):
        AdaFace()(torch.zeros(1, 2), torch.tensor([0]))
