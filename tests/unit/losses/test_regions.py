"""Cross-entropy of regions, plain and with small regions weighing more."""

import math

import pytest
import torch
from torch.nn import functional as F

from transface.losses.regions import region_cross_entropy


def drawn(num_images: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(num_images, 4, 5, 6, generator=draw, dtype=torch.float64)
    regions = (torch.rand(num_images, 5, 6, generator=draw) ** 3 * 3).to(torch.uint8)  # region 3 is nowhere
    return logits, regions


def test_without_balance_each_pixel_counts_alike() -> None:
    logits, regions = drawn()
    assert region_cross_entropy(logits, regions) == F.cross_entropy(logits, regions.long())


@pytest.mark.parametrize("balance", [0.25, 0.5, 1.0])
def test_a_pixel_weighs_a_power_of_the_share_of_its_region_in_its_image(balance: float) -> None:
    logits, regions = drawn()
    means = []
    for image in range(3):
        entropies, weights = [], []
        for y in range(5):
            for x in range(6):
                region = int(regions[image, y, x])
                odds = [math.exp(one) for one in logits[image, :, y, x].tolist()]
                entropies.append(-math.log(odds[region] / sum(odds)))
                weights.append((float((regions[image] == region).sum()) / 30) ** -balance)
        means.append(sum(e * w for e, w in zip(entropies, weights, strict=True)) / sum(weights))
    assert float(region_cross_entropy(logits, regions, balance=balance)) == pytest.approx(sum(means) / 3)


def test_full_balance_counts_every_region_of_an_image_alike() -> None:
    logits, regions = drawn(1)
    entropy = F.cross_entropy(logits, regions.long(), reduction="none")
    own = [entropy[regions == region].mean() for region in regions.unique()]
    assert float(region_cross_entropy(logits, regions, balance=1.0)) == pytest.approx(float(torch.stack(own).mean()))


def test_a_batch_costs_the_mean_of_its_images_however_it_is_dealt() -> None:
    logits, regions = drawn(4)
    parts = [region_cross_entropy(logits[i : i + 2], regions[i : i + 2], balance=0.5) for i in (0, 2)]
    assert float(region_cross_entropy(logits, regions, balance=0.5)) == pytest.approx(float(sum(parts)) / 2)


def test_a_balance_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be in 0\.\.1, got 1\.5"):
        region_cross_entropy(*drawn(), balance=1.5)
