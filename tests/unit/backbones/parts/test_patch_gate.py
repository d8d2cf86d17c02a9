"""The patch gate against loops."""

import numpy as np
import torch

from transface.backbones.parts.patch_gate import PatchGate


def test_gate_equals_numpy_and_multiplies_the_tokens() -> None:
    gate, tokens = PatchGate(5, 3).double(), torch.randn(4, 5, 3, dtype=torch.float64)
    gated, importance = gate(tokens)
    squeeze, excite = (weight.detach().numpy() for weight in (gate.squeeze.weight, gate.excite.weight))
    for face in range(4):
        expected = 1 / (1 + np.exp(-excite @ np.maximum(squeeze @ tokens[face].numpy().reshape(-1), 0)))
        np.testing.assert_allclose(importance[face].detach(), expected, rtol=1e-12)
        np.testing.assert_allclose(gated[face].detach(), tokens[face].numpy() * expected[:, None], rtol=1e-12)
    assert torch.equal(gate.ranking(tokens).sigmoid(), importance)


def test_gate_of_zero_weights_is_one_half() -> None:
    gate = PatchGate(5, 3)
    torch.nn.init.zeros_(gate.excite.weight)
    assert (gate.ranking(torch.randn(2, 5, 3)) == 0).all()


def test_gate_stays_exact_under_autocast() -> None:
    gate, tokens = PatchGate(5, 3), torch.randn(2, 5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gate.ranking(tokens)
    assert torch.equal(inside, gate.ranking(tokens))


def test_the_ranking_tells_patches_apart_where_the_gate_is_saturated() -> None:
    gate = PatchGate(3, 1)
    with torch.no_grad():
        gate.squeeze.weight.copy_(torch.eye(3))
        gate.excite.weight.copy_(torch.eye(3))
    tokens = torch.tensor([[[40.0], [60.0], [50.0]]])
    assert (gate(tokens).importance == 1).all()
    assert gate.ranking(tokens).argsort(descending=True).tolist() == [[1, 2, 0]]
