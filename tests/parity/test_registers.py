"""FaceViT with registers against numbers recorded from the program its authors released (ViT-FR-Registers)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transface.backbones.face_vit import FaceViT
from transface.backbones.released import build_vit, load_released
from transface.backbones.weights.released_families import read_released
from transface.backbones.weights.state_dicts import find_misfits


@pytest.fixture(scope="module")
def pack(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "parity/registers/model.npz", allow_pickle=False))


def tensor(pack: dict[str, np.ndarray], key: str) -> Tensor:
    return torch.from_numpy(pack[key]).double()


def settings(pack: dict[str, np.ndarray]) -> dict[str, Any]:
    return json.loads(str(pack["cfg_json"]))


def released(pack: dict[str, np.ndarray], *left_out: str) -> FaceViT:
    state = {key.removeprefix("sd/"): torch.from_numpy(pack[key]) for key in pack if key.startswith("sd/")}
    state = {key: value for key, value in state.items() if key not in left_out}
    config = settings(pack)
    model = load_released(state, num_heads=config["num_heads"], image_size=config["img_size"])
    assert isinstance(model, FaceViT)
    return model.double()


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float = 2e-5) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_tokens_and_embedding_are_the_released_ones(pack: dict[str, np.ndarray]) -> None:
    model = released(pack)
    config = settings(pack)
    assert model.num_registers == config["registers"]
    caught: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: caught.append(output))
    model.blocks[0].register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    features = model(tensor(pack, "in/image"))
    assert_near(features.embedding, tensor(pack, "out/embedding"))
    assert_near(features.tokens.flatten(1), tensor(pack, "out/neck_input"))
    assert_near(caught[0], tensor(pack, "out/tokens_into_block_0"))
    for index, tokens in enumerate(caught[1:]):
        assert_near(tokens, tensor(pack, f"out/tokens_after_block_{index}"))
    num_patches = model.grid_size[0] * model.grid_size[1]
    assert_near(features.tokens, tensor(pack, "out/tokens_after_norm")[:, :num_patches])


def test_gradients_of_registers_and_positions_are_the_released_ones(pack: dict[str, np.ndarray]) -> None:
    model = released(pack)
    (model(tensor(pack, "in/image")).embedding * tensor(pack, "in/grad_weight_of_embedding")).sum().backward()
    assert model.register_tokens is not None
    assert_near(model.register_tokens.grad, tensor(pack, "grad/register_tokens"), 1e-4)
    assert_near(model.pos_embed.grad, tensor(pack, "grad/pos_embed"), 1e-4)


def test_the_same_weights_without_registers_are_the_released_plain_model(pack: dict[str, np.ndarray]) -> None:
    model = released(pack, "register_tokens")
    assert model.num_registers == 0
    assert_near(model(tensor(pack, "in/image")).embedding, tensor(pack, "out/embedding_without_registers"))


def test_every_recorded_list_of_names_builds_its_model(shared: Path) -> None:
    for name, told in json.loads((shared / "parity/registers/names.json").read_text(encoding="utf-8")).items():
        with torch.device("meta"):
            state, _ = read_released({key: torch.empty(shape) for key, (shape, _) in told["state_dict"].items()})
            model = build_vit(state)
        assert not any(find_misfits(model, state)), name
        assert sum(parameter.numel() for parameter in model.parameters()) == told["parameters"], name
        assert model.num_registers == int(name.rsplit("_", 1)[1])
