"""EHSM against weights recorded from the released TransFace code."""

from pathlib import Path

import numpy as np
import torch

from transface.systems.recognition.ehsm import hardness_weights


def test_weights_of_token_deviations_equal_the_released_ones(shared: Path) -> None:
    recorded = np.load(shared / "parity" / "transface" / "margin_loss.npz")
    cases = [key.removesuffix("/token_std") for key in recorded.files if key.endswith("/token_std")]
    assert cases
    for case in cases:
        weights = hardness_weights(torch.from_numpy(recorded[f"{case}/token_std"]), 1.0)
        np.testing.assert_allclose(weights.numpy(), recorded[f"{case}/sample_weight"], rtol=1e-6)
