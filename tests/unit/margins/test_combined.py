"""transface.margins.combined: its formula, and the margins it holds as special cases."""

import math

import pytest
import torch

from transface.margins.arcface import ArcFace
from transface.margins.combined import CombinedMargin
from transface.margins.cosface import CosFace

COSINES = torch.linspace(-0.999, 0.999, 41, dtype=torch.float64)


@pytest.mark.parametrize(("m1", "m2", "m3"), [(1.0, 0.3, 0.2), (1.35, 0.0, 0.0), (2.0, 0.2, 0.1), (1.0, 0.0, 0.4)])
def test_target_logits_are_the_formula_up_to_pi(m1, m2, m3) -> None:
    logits = CombinedMargin(10.0, m1, m2=m2, m3=m3).target_logits(COSINES)
    unguarded = CombinedMargin(10.0, m1, m2=m2, m3=m3, gradient="straight_through").target_logits(COSINES)
    for cosine, logit, released in zip(COSINES.tolist(), logits.tolist(), unguarded.tolist(), strict=True):
        angle = m1 * math.acos(cosine) + m2
        assert released == pytest.approx(10 * (math.cos(angle) - m3), abs=1e-9)
        if angle <= math.pi:
            assert logit == pytest.approx(10 * (math.cos(angle) - m3), abs=1e-9)


@pytest.mark.parametrize(("m1", "m2"), [(1.35, 0.0), (2.0, 0.2), (3.0, 0.0)])
def test_the_logit_falls_with_the_angle_even_beyond_pi(m1, m2) -> None:
    assert (CombinedMargin(m1=m1, m2=m2).target_logits(COSINES).diff() > 0).all()


def test_arcface_and_cosface_are_special_cases() -> None:
    assert torch.equal(CombinedMargin(m1=1.0, m2=0.5, m3=0.0).target_logits(COSINES), ArcFace().target_logits(COSINES))
    assert torch.allclose(
        CombinedMargin(m1=1.0, m2=0.0, m3=0.4).target_logits(COSINES), CosFace().target_logits(COSINES)
    )


def test_a_margin_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got m1=0\.5"):
        CombinedMargin(m1=0.5)
