"""X2-Softmax: its formula, its derivative, and the released one."""

import math

import pytest
import torch

from transface.margins.x2softmax import X2Softmax


def test_logits_are_the_paper_s_formula() -> None:
    margin = X2Softmax(30.0, -0.7, vertex_radians=0.2, height=0.8)
    for cosine in (-0.95, -0.2, 0.4, 0.98):
        logit = margin.target_logits(torch.tensor([cosine], dtype=torch.float64)).item()
        assert logit == pytest.approx(30 * (-0.7 * (math.acos(cosine) - 0.2) ** 2 + 0.8), rel=1e-12)


def test_the_exact_gradient_is_the_derivative_and_the_released_one_is_the_scale() -> None:
    cosines = torch.tensor([-0.5, 0.1, 0.8], dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad(X2Softmax().target_logits(cosines).sum(), cosines)
    angles = cosines.detach().acos()
    torch.testing.assert_close(exact, 64 * 1.8 * angles / angles.sin())
    (released,) = torch.autograd.grad(X2Softmax(gradient="straight_through").target_logits(cosines).sum(), cosines)
    assert released.tolist() == [64.0] * 3


@pytest.mark.parametrize("settings", [{"curvature": 0.1}, {"vertex_radians": 4.0}, {"height": 1.5}])
def test_settings_out_of_range_are_refused_by_name(settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        X2Softmax(**settings)
