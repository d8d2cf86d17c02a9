"""The patch gate against loops."""

import numpy as np
import torch

from transface.backbones.patch_gate import PatchGate


def test_gate_equals_numpy_and_multiplies_the_tokens() -> None:
    gate, tokens = PatchGate(5, 3).double(), torch.randn(4, 5, 3, dtype=torch.float64)
    gated, importance = gate(tokens)
    squeeze, excite = (weight.detach().numpy() for weight in (gate.squeeze.weight, gate.excite.weight))
    for face in range(4):
        expected = 1 / (1 + np.exp(-excite @ np.maximum(squeeze @ tokens[face].numpy().reshape(-1), 0)))
        np.testing.assert_allclose(importance[face].detach(), expected, rtol=1e-12)
        np.testing.assert_allclose(gated[face].detach(), tokens[face].numpy() * expected[:, None], rtol=1e-12)
    assert torch.equal(gate.importance(tokens), importance)


def test_gate_of_zero_weights_is_one_half() -> None:
    gate = PatchGate(5, 3)
    torch.nn.init.zeros_(gate.excite.weight)
    assert (gate.importance(torch.randn(2, 5, 3)) == 0.5).all()


def test_gate_stays_exact_under_autocast() -> None:
    gate, tokens = PatchGate(5, 3), torch.randn(2, 5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gate.importance(tokens)
    assert torch.equal(inside, gate.importance(tokens))
