"""Mixup: the share of both faces, the ratios of a Beta distribution."""

import pytest
import torch

from transface.data.augment.mixup import Mixup


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixup_is_the_share_of_both_faces() -> None:
    images = torch.rand(16, 3, 8, 8)
    mixed = Mixup(alpha=0.5)(images, seeded(1))
    assert sorted(mixed.other.tolist()) == list(range(16))
    assert ((mixed.ratio >= 0) & (mixed.ratio <= 1)).all()
    for row in range(16):
        share = float(mixed.ratio[row])
        assert torch.allclose(
            mixed.images[row], share * images[row] + (1 - share) * images[mixed.other[row]], atol=1e-6
        )
    none = Mixup(alpha=0.5, probability=0.0)(images, seeded(1))
    assert torch.equal(none.images, images)
    assert torch.equal(none.ratio, torch.ones(16))


def test_mixup_ratios_follow_the_beta_distribution() -> None:
    ratio = Mixup(alpha=0.4)(torch.zeros(20000, 1, 1, 1), seeded(0)).ratio
    assert float(ratio.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(ratio.var()) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.03)


def test_a_wrong_alpha_is_refused() -> None:
    for alpha in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"alpha must be above 0 and finite, got {alpha}"):
            Mixup(alpha=alpha)
