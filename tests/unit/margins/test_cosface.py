"""transface.margins.cosface against the formula in plain Python."""

import pytest
import torch

from transface.margins.cosface import CosFace


def test_logits_are_the_paper_s_formula() -> None:
    cosines = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    labels = torch.tensor([2, 0, 1, 1])
    logits = CosFace(48.0, 0.35)(cosines, labels)
    for b in range(4):
        for c in range(3):
            assert logits[b, c].item() == pytest.approx(
                48 * (cosines[b, c].item() - 0.35 * float(c == labels[b].item())), abs=1e-12
            )
