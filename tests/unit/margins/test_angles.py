"""transface.margins.angles: cos(theta + m) against math.cos, and its continuation beyond pi."""

import math

import pytest
import torch

from transface.margins.angles import add_angle, cosine_of_sum, straight_through


@pytest.mark.parametrize("radians", [0.0, 0.3, 0.5, 0.8])
def test_adding_an_angle_is_the_cosine_of_the_sum_up_to_pi_and_goes_on_falling_beyond(radians) -> None:
    for theta in [0.05, 0.5, 1.0, 2.0, 2.5, 3.0, 3.1]:
        cosine = torch.tensor([math.cos(theta)], dtype=torch.float64)
        expected = (
            math.cos(theta + radians) if theta + radians <= math.pi else math.cos(theta) - radians * math.sin(radians)
        )
        assert add_angle(cosine, radians).item() == pytest.approx(expected, abs=1e-7)
        assert add_angle(cosine, torch.tensor([radians], dtype=torch.float64)).item() == pytest.approx(
            expected, abs=1e-7
        )
        assert cosine_of_sum(cosine, radians).item() == pytest.approx(math.cos(theta + radians), abs=1e-7)


def test_straight_through_has_the_value_of_one_and_the_derivative_of_the_other() -> None:
    cosines = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)
    moved = straight_through(cosines, cosine_of_sum(cosines, 0.5))
    assert torch.allclose(moved, cosine_of_sum(cosines, 0.5))
    assert torch.equal(torch.autograd.grad(moved.sum(), cosines)[0], torch.ones(2, dtype=torch.float64))
