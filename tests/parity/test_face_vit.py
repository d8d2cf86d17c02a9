"""FaceViT against outputs recorded from the released TransFace code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from transface.backbones.released import load_released


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "parity" / "transface" / "vit_forward.npz"))


def test_embedding_gate_and_tokens_equal_the_released_model(recorded: dict[str, np.ndarray]) -> None:
    state = {
        "module." + key.removeprefix("state/"): torch.from_numpy(value)
        for key, value in recorded.items()
        if key.startswith("state/")
    }
    model = load_released(state, num_heads=4)
    with torch.no_grad():
        features = model(torch.from_numpy(recorded["images"]))
    for found, name in (
        (features.embedding, "embedding"),
        (features.patch_importance.softmax(1), "se_softmax"),
        (features.tokens.std(-1), "token_std"),
    ):
        assert found.shape == recorded[name].shape
        assert np.abs(found.numpy() - recorded[name]).max() <= 2e-5 * np.abs(recorded[name]).max()


def test_a_wrong_number_of_heads_gives_another_embedding(recorded: dict[str, np.ndarray]) -> None:
    state = {
        key.removeprefix("state/"): torch.from_numpy(value)
        for key, value in recorded.items()
        if key.startswith("state/")
    }
    # The recorded model is close to its start, where attention is all but flat; sharper attention shows the heads.
    state = {key: value * 30 if key.endswith("qkv.weight") else value for key, value in state.items()}
    with torch.no_grad():
        four, eight = (
            load_released(state, num_heads=heads)(torch.from_numpy(recorded["images"])).embedding for heads in (4, 8)
        )
    assert (four - eight).abs().max() > 1e-3
