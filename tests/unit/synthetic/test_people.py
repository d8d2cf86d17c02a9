"""Traits and circumstances: their ranges, their independence of the batch, and refusals."""

import pytest
import torch

from transface.synthetic.people import (
    CIRCUMSTANCES,
    NUISANCE_COLUMNS,
    OCCASIONS,
    TRAITS,
    Columns,
    draw_identities,
    draw_nuisance,
)


def test_traits_fill_their_ranges() -> None:
    traits = draw_identities(2000, torch.Generator().manual_seed(0))
    low, high = torch.tensor(list(TRAITS.values())).T
    assert ((traits >= low) & (traits <= high)).all()
    torch.testing.assert_close((traits.mean(0) - low) / (high - low), torch.full_like(low, 0.5), atol=0.05, rtol=0)
    correlation = torch.corrcoef(traits.T) - torch.eye(len(TRAITS))
    assert correlation.abs().max() < 0.12


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_conditions_stray_as_far_as_the_difficulty_says(difficulty: float) -> None:
    nuisance = draw_nuisance(4000, torch.Generator().manual_seed(0), difficulty)
    for name, (neutral, calm, wild) in CIRCUMSTANCES.items():
        straying = (nuisance[:, NUISANCE_COLUMNS[name]] - neutral).abs().max()
        expected = calm + difficulty * (wild - calm)
        assert 0.98 * expected <= straying <= expected + 1e-5, name
    for name, (rare, often) in OCCASIONS.items():
        share = float(nuisance[:, NUISANCE_COLUMNS[name]].mean())
        assert abs(share - rare - difficulty * (often - rare)) < 0.03, name


def test_each_image_can_have_its_own_difficulty() -> None:
    nuisance = draw_nuisance(2, torch.Generator().manual_seed(0), torch.tensor([0.0, 1.0]))
    calm = draw_nuisance(2, torch.Generator().manual_seed(0), 0.0)
    wild = draw_nuisance(2, torch.Generator().manual_seed(0), 1.0)
    torch.testing.assert_close(nuisance, torch.stack([calm[0], wild[1]]))


def test_a_difficulty_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        draw_nuisance(1, torch.Generator(), 1.5)


def test_a_table_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="columns"):
        Columns(torch.zeros(2, 3), NUISANCE_COLUMNS)
