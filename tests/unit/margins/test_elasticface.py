"""ElasticFace: its formula, its draws, who gets which margin, and that a resumed run draws what the uninterrupted one
drew.
"""

import math

import pytest
import torch

from transface.margins.elasticface import ElasticFace, assign_margins


@pytest.mark.parametrize("kind", ["arc", "cos"])
def test_logits_are_the_paper_s_formula_with_the_drawn_margins(kind: str) -> None:
    margin = ElasticFace(30.0, 0.4, kind=kind, seed=3).double()
    cosines = torch.linspace(-0.5, 0.9, 8, dtype=torch.float64)
    drawn = margin.draw_margins(cosines)
    for cosine, m, logit in zip(cosines.tolist(), drawn.tolist(), margin.target_logits(cosines).tolist(), strict=True):
        assert logit == pytest.approx(30 * (math.cos(math.acos(cosine) + m) if kind == "arc" else cosine - m), abs=1e-9)


def test_the_largest_margin_goes_to_the_smallest_cosine() -> None:
    cosines, margins = torch.tensor([0.9, -0.3, 0.2, 0.5]), torch.tensor([0.41, 0.55, 0.47, 0.60])
    assert assign_margins(margins, cosines, "exact").tolist() == pytest.approx([0.41, 0.60, 0.55, 0.47])
    assert torch.equal(assign_margins(margins, cosines, "random"), margins)


def test_margins_have_the_mean_and_deviation_asked_for_and_differ_by_step() -> None:
    margin = ElasticFace(margin=0.5, deviation=0.05).double()
    many = torch.zeros(20000, dtype=torch.float64)
    first = margin.draw_margins(many)
    assert torch.equal(first, margin.draw_margins(many))
    assert first.mean() == pytest.approx(0.5, abs=2e-3)
    assert first.std() == pytest.approx(0.05, abs=2e-3)
    margin.update(many, many)
    assert not torch.equal(first, margin.draw_margins(many))


def test_a_loaded_margin_resumes_the_draws() -> None:
    margin, loaded = ElasticFace(), ElasticFace()
    cosines = torch.rand(6)
    for _ in range(3):
        margin.update(cosines, cosines)
    loaded.load_state_dict(margin.state_dict())
    assert torch.equal(margin.target_logits(cosines), loaded.target_logits(cosines))


def test_no_deviation_and_evaluation_are_the_mean_margin() -> None:
    cosines = torch.linspace(-0.9, 0.9, 7)
    assert torch.equal(ElasticFace(deviation=0.0).target_logits(cosines), ElasticFace().eval().target_logits(cosines))


@pytest.mark.parametrize(
    "settings", [{"kind": "sphere"}, {"pairing": "none"}, {"deviation": -1.0}, {"beyond_pi": "x"}, {"margin": -0.1}]
)
def test_settings_out_of_range_are_refused_by_name(settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ElasticFace(**settings)
