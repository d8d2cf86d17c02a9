"""transface.margins.curricularface against the formula in plain Python."""

import math

import pytest
import torch

from transface.margins.curricularface import CurricularFace


def test_logits_are_the_paper_s_formula_with_the_running_t() -> None:
    generator = torch.Generator().manual_seed(7)
    cosines = torch.rand(16, 6, generator=generator, dtype=torch.float64) * 2 - 1
    labels = torch.randint(6, (16,), generator=generator)
    margin = CurricularFace(momentum=0.25).double().train()
    margin.stage.fill_(0.4)
    logits = margin(cosines, labels)
    t = 0.75 * 0.4 + 0.25 * sum(cosines[b, labels[b]].item() for b in range(16)) / 16
    hard = 0
    for b in range(16):
        theta = math.acos(cosines[b, labels[b]].item())
        for c in range(6):
            cosine = cosines[b, c].item()
            expected = cosine
            if c == labels[b]:
                expected = math.cos(theta + 0.5) if theta + 0.5 <= math.pi else cosine - 0.5 * math.sin(0.5)
            elif cosine > math.cos(theta + 0.5):
                expected, hard = cosine * (t + cosine), hard + 1
            assert logits[b, c].item() == pytest.approx(64 * expected, abs=1e-9)
    assert 0 < hard < 80
    assert margin.stage.item() == pytest.approx(t)


def test_t_rests_in_evaluation() -> None:
    margin = CurricularFace().eval()
    margin(torch.full((2, 3), 0.5), torch.tensor([0, 1]))
    assert margin.stage.item() == 0
