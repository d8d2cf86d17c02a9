"""The likelihood of points under the softmax of their heat maps; the published losses: tests/parity."""

import math

import pytest
import torch

from transface.losses.landmarks import cut_gaussians, heatmap_likelihood


def test_the_likelihood_is_the_cross_entropy_with_a_gaussian_of_sum_one() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 8, generator=draw, dtype=torch.float64)
    points = torch.rand(2, 3, 2, generator=draw, dtype=torch.float64)
    heat = cut_gaussians(points, (6, 8), 2.0)
    costs = []
    for image in range(2):
        for point in range(3):
            odds = {(y, x): math.exp(float(logits[image, point, y, x])) for y in range(6) for x in range(8)}
            total = float(heat[image, point].sum())
            costs.append(
                -sum(
                    float(heat[image, point, y, x]) / total * math.log(one / sum(odds.values()))
                    for (y, x), one in odds.items()
                )
            )
    assert float(heatmap_likelihood(logits, points, radius=2.0)) == pytest.approx(sum(costs) / 6)


def test_a_point_far_outside_costs_nothing() -> None:
    logits = torch.randn(1, 1, 6, 8, requires_grad=True)
    cost = heatmap_likelihood(logits, torch.full((1, 1, 2), 9.0))
    cost.backward()
    assert cost.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
