"""LoRA changes nothing at the start, trains its own weights alone, and merges into the plain network."""

import sys

import pytest
import torch

from transface.backbones.face_vit import FaceViT
from transface.backbones.lora import has_lora, merge_lora, with_lora
from transface.backbones.weights.rebuild import build_backbone, config_of

pytest.importorskip("peft", reason="peft is not installed")
SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2, "embedding_size": 8}


@pytest.fixture
def faces() -> torch.Tensor:
    return torch.rand(4, 3, 112, 112) * 2 - 1


def trained_a_little(network: torch.nn.Module, faces: torch.Tensor) -> None:
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(faces).embedding.square().sum().backward()
        optimizer.step()


def test_at_the_start_the_network_is_the_same(faces: torch.Tensor) -> None:
    network = FaceViT(**SMALL).eval()
    with torch.no_grad():
        before = network(faces).embedding
        torch.testing.assert_close(with_lora(network, rank=2)(faces).embedding, before)


def test_only_corrections_gate_and_neck_move(faces: torch.Tensor) -> None:
    network = with_lora(FaceViT(**SMALL), rank=2)
    before = {name: value.clone() for name, value in network.named_parameters()}
    trained_a_little(network, faces)
    moved = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    assert all(".lora_" in name or name.startswith(("gate", "neck")) for name in moved)
    assert any(name.endswith("lora_B.default.weight") for name in moved)
    assert any(name.startswith("neck") for name in moved)


def test_the_correction_is_b_times_a_times_alpha_over_rank(faces: torch.Tensor) -> None:
    network = with_lora(FaceViT(**SMALL), rank=3, alpha=6.0)
    trained_a_little(network, faces)
    layer = network.blocks[1].mlp.fc1
    correction = layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double() * (6.0 / 3)
    wanted = layer.base_layer.weight.double() + correction
    assert float(correction.abs().max().detach()) > 1e-6
    torch.testing.assert_close(merge_lora(network).blocks[1].mlp.fc1.weight.double(), wanted, rtol=1e-5, atol=1e-6)


def test_merged_it_is_a_plain_network_that_gives_the_same(faces: torch.Tensor) -> None:
    network = with_lora(FaceViT(**SMALL), rank=2)
    trained_a_little(network, faces)
    network.eval()
    with torch.no_grad():
        wanted = network(faces).embedding
        assert has_lora(network)
        merged = merge_lora(network)
        torch.testing.assert_close(merged(faces).embedding, wanted, rtol=1e-4, atol=1e-5)
    assert not has_lora(merged)
    plain = build_backbone(config_of(merged))
    plain.load_state_dict(merged.state_dict())


def test_a_checkpoints_config_builds_it_again(faces: torch.Tensor) -> None:
    config = {
        "_target_": "transface.backbones.lora.with_lora",
        "rank": 2,
        "backbone": {"_target_": "transface.backbones.face_vit.FaceViT", **SMALL, "weights": None},
    }
    first, second = build_backbone(config).eval(), build_backbone(config).eval()
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert torch.equal(first(faces).embedding, second(faces).embedding)


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no layer of FaceViT is called nowhere"):
        with_lora(FaceViT(**SMALL), layers=("nowhere",))
    with pytest.raises(ValueError, match="rank must be at least 1"):
        with_lora(FaceViT(**SMALL), rank=0)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match="pip install peft"):
        with_lora(FaceViT(**SMALL))
