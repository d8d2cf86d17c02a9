"""FaceViT: sizes, shapes, what happens in training only, gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from transface.backbones.face_vit import FaceViT, face_vit_b, face_vit_l, face_vit_s, face_vit_t
from transface.backbones.features import Backbone
from transface.backbones.weights.rebuild import build_backbone, config_of
from transface.training.optimization.parameter_groups import group_parameters


def small(**settings: object) -> FaceViT:
    return FaceViT(**({"image_size": 40, "embed_dim": 16, "depth": 3, "num_heads": 4, "embedding_size": 8} | settings))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 40, 40) * 2 - 1


@pytest.mark.parametrize(
    ("build", "count"),
    [(face_vit_t, 24_466_944), (face_vit_s, 86_660_864), (face_vit_b, 124_471_040), (face_vit_l, 271_630_336)],
)
def test_number_of_parameters_is_that_of_the_paper(build: type, count: int) -> None:
    with torch.device("meta"):
        model = build()
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert (model.grid_size, model.embedding_size) == ((12, 12), 512)


@pytest.mark.parametrize(
    ("build", "drop_path", "token_drop"),
    [(face_vit_t, 0.1, 0.1), (face_vit_s, 0.05, 0), (face_vit_b, 0.05, 0.1), (face_vit_l, 0.05, 0.1)],
)
def test_drop_rates_are_the_released_ones_and_drop_path_grows_linearly(
    build: type, drop_path: float, token_drop: float
) -> None:
    with torch.device("meta"):
        model = build()
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in model.blocks]
    np.testing.assert_allclose(rates, np.linspace(0, drop_path, len(model.blocks)))
    assert model.token_drop_rate == token_drop


def test_it_is_a_backbone_and_gives_the_promised_shapes(images: torch.Tensor) -> None:
    model = small(layer_token_blocks=(0, 2))
    assert isinstance(model, Backbone)
    embedding, tokens, importance, layers = model(images)
    assert (embedding.shape, tokens.shape, importance.shape) == ((5, 8), (5, 16, 16), (5, 16))
    assert [layer.shape for layer in layers] == [(5, 16, 16)] * 2
    assert small()(images).layer_tokens is None


def test_forward_equals_a_naive_one(images: torch.Tensor) -> None:
    model = small().double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = {key: value.detach() for key, value in model.state_dict().items()}

    def layer_norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * state[f"{name}.weight"]
            + state[f"{name}.bias"]
        )

    def batch_norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return (
            x / (1 + 2e-5) ** 0.5 * state[f"{name}.weight"] + state[f"{name}.bias"]
        )  # fresh statistics: mean 0, variance 1

    for face, embedding in zip(images.double(), model(images.double()).embedding, strict=True):
        patches = [face[:, 9 * r : 9 * r + 9, 9 * c : 9 * c + 9].reshape(-1) for r in range(4) for c in range(4)]
        weight = state["patch_embed.proj.weight"].reshape(16, -1)
        x = torch.stack([weight @ patch for patch in patches]) + state["patch_embed.proj.bias"] + state["pos_embed"][0]
        for i in range(3):
            qkv = layer_norm(x, f"blocks.{i}.norm1") @ state[f"blocks.{i}.attn.qkv.weight"].T
            heads = []
            for h in range(4):
                q, k, v = (qkv[:, 16 * part + 4 * h : 16 * part + 4 * h + 4] for part in range(3))
                heads.append((q @ k.T / 2).softmax(-1) @ v)
            x = x + torch.cat(heads, 1) @ state[f"blocks.{i}.attn.proj.weight"].T + state[f"blocks.{i}.attn.proj.bias"]
            hidden = (
                layer_norm(x, f"blocks.{i}.norm2") @ state[f"blocks.{i}.mlp.fc1.weight"].T
                + state[f"blocks.{i}.mlp.fc1.bias"]
            )
            x = x + hidden.clamp(0, 6) @ state[f"blocks.{i}.mlp.fc2.weight"].T + state[f"blocks.{i}.mlp.fc2.bias"]
        x = layer_norm(x, "norm")
        gate = (state["gate.excite.weight"] @ (state["gate.squeeze.weight"] @ x.reshape(-1)).relu()).sigmoid()
        gated = (x * gate[:, None]).reshape(-1)
        hidden = batch_norm(state["neck.project.weight"] @ gated, "neck.project_norm")
        expected = batch_norm(state["neck.embed.weight"] @ hidden, "neck.embed_norm")
        torch.testing.assert_close(embedding, expected, rtol=1e-9, atol=1e-9)


def test_importance_without_the_neck_is_that_of_the_forward(images: torch.Tensor) -> None:
    model = small(token_drop_rate=0.5, drop_path_rate=0.5).eval()
    torch.testing.assert_close(model.patch_importance(images).sigmoid(), model(images).patch_importance, rtol=0, atol=0)


def test_token_drop_puts_mask_tokens_before_the_gate_in_training_only(images: torch.Tensor) -> None:
    model = small(token_drop_rate=0.3)
    tokens = model.encode(images).tokens
    masked = (tokens == model.mask_token).all(-1)
    assert masked.sum(1).tolist() == [16 - int(16 * 0.7)] * 5
    assert len({tuple(row) for row in masked.tolist()}) > 1, "each face drops its own tokens"
    assert not (model.eval().encode(images).tokens == model.mask_token).all(-1).any()


def test_layer_tokens_are_the_outputs_of_their_blocks_with_masks_in_dropped_places(images: torch.Tensor) -> None:
    model = small(layer_token_blocks=(1,), token_drop_rate=0.3)
    caught: list[torch.Tensor] = []
    model.blocks[1].register_forward_hook(lambda module, inputs, output: caught.append(output))
    layer = model(images).layer_tokens[0]
    masked = (layer == model.mask_token).all(-1)
    assert masked.sum(1).tolist() == [16 - int(16 * 0.7)] * 5
    torch.testing.assert_close(layer[~masked].sum(0), caught[0].flatten(0, 1).sum(0))
    torch.testing.assert_close(model.eval()(images).layer_tokens[0], caught[1])


def test_gradients_reach_every_parameter(images: torch.Tensor) -> None:
    model = small(token_drop_rate=0.3)
    model(images).embedding.square().sum().mul(torch.rand(())).backward()
    model(images).tokens.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_gradient_checkpointing_changes_no_gradient(images: torch.Tensor) -> None:
    plain, checkpointed = small(drop_path_rate=0.5), small(drop_path_rate=0.5, gradient_checkpointing=True)
    checkpointed.load_state_dict(plain.state_dict())
    for model in (plain, checkpointed):
        torch.manual_seed(1)
        model(images).embedding.square().mean().backward()
    for (name, one), two in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        if name != "mask_token":
            torch.testing.assert_close(one.grad, two.grad, msg=name)


def test_gate_and_neck_stay_exact_under_autocast(images: torch.Tensor) -> None:
    model = small().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = model(images)
    assert features.embedding.dtype == torch.float32
    assert features.patch_importance.dtype == torch.float32


def test_without_a_gate_it_ranks_nothing(images: torch.Tensor) -> None:
    model = small(gate="none").eval()
    features = model(images)
    assert model.patch_importance(images) is None
    assert features.patch_importance is None
    torch.testing.assert_close(features.tokens, model.encode(images).tokens, rtol=0, atol=0)


def test_layer_index_counts_from_the_patches_to_the_neck() -> None:
    model = small()
    found = {name: model.layer_index(name) for name in model.state_dict()}
    assert (found["pos_embed"], found["patch_embed.proj.weight"]) == (0, 0)
    assert (found["blocks.0.norm1.weight"], found["blocks.2.attn.qkv.weight"]) == (1, 3)
    assert {index for name, index in found.items() if name.split(".")[0] in {"norm", "gate", "neck", "mask_token"}} == {
        4
    }


def test_no_registers_is_the_model_of_before_to_the_bit(images: torch.Tensor) -> None:
    torch.manual_seed(3)
    plain = small(token_drop_rate=0.3)
    torch.manual_seed(3)
    none = small(token_drop_rate=0.3, num_registers=0)
    torch.manual_seed(3)
    registered = small(token_drop_rate=0.3, num_registers=2)
    assert plain.state_dict().keys() == none.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, none.state_dict()[name])
        assert torch.equal(value, registered.state_dict()[name]), "registers are drawn last"
    embeddings = []
    for model in (plain, none):
        torch.manual_seed(4)
        embeddings.append(model(images).embedding)
    assert torch.equal(*embeddings)


def test_registers_pass_the_blocks_behind_the_patches_and_nothing_after(images: torch.Tensor) -> None:
    model = small(num_registers=3, layer_token_blocks=(1,)).eval()
    for parameter in model.blocks.parameters():
        nn.init.normal_(parameter, std=0.3)
    caught: list[torch.Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    model.blocks[1].register_forward_hook(lambda module, inputs, output: caught.append(output))
    features = model(images)
    assert torch.equal(caught[0][:, 16:], model.register_tokens.expand(5, -1, -1))
    assert (features.tokens.shape, features.patch_importance.shape) == ((5, 16, 16), (5, 16))
    assert torch.equal(features.layer_tokens[0], caught[1][:, :16])
    assert model.patch_importance(images).shape == (5, 16)
    with torch.no_grad():
        model.register_tokens.normal_()
    assert (model(images).embedding - features.embedding).abs().max() > 1e-5


def test_token_drop_leaves_registers_alone(images: torch.Tensor) -> None:
    model = small(num_registers=3, token_drop_rate=0.5)
    caught: list[torch.Tensor] = []
    model.blocks[0].register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    assert model(images).tokens.shape == (5, 16, 16)
    assert caught[0].shape == (5, 8 + 3, 16)
    assert torch.equal(caught[0][:, 8:], model.register_tokens.expand(5, -1, -1))


def test_weights_without_registers_start_a_model_with_them_only_if_asked(images: torch.Tensor, tmp_path: Path) -> None:
    plain, file = small(), tmp_path / "plain.pt"
    torch.save(plain.state_dict(), file)
    with pytest.raises(ValueError, match="registers_from='fresh'"):
        small(num_registers=2, weights=file)
    model = small(num_registers=2, weights=file, registers_from="fresh")
    assert torch.equal(model.pos_embed, plain.pos_embed)
    assert model.register_tokens.std() > 0
    registered = tmp_path / "registered.pt"
    torch.save(model.state_dict(), registered)
    again = small(num_registers=2, weights=registered)
    assert torch.equal(again.eval()(images).embedding, model.eval()(images).embedding)
    with pytest.raises(ValueError, match="register_tokens"):
        small(weights=registered)
    with pytest.raises(ValueError, match=r"register_tokens is \(1, 2, 16\)"):
        small(num_registers=3, weights=registered, registers_from="fresh")


def test_a_model_with_registers_is_rebuilt_from_its_config(images: torch.Tensor) -> None:
    model = small(num_registers=2).eval()
    again = build_backbone(config_of(model))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(images).embedding, model(images).embedding)


def test_registers_get_no_weight_decay() -> None:
    model = small(num_registers=2)
    groups = group_parameters(model)
    (group,) = [one for one in groups if any(p is model.register_tokens for p in one["params"])]
    assert group["weight_decay"] == 0
    assert model.layer_index("register_tokens") == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"patch_size": 41}, "patch_size"),
        ({"num_heads": 3}, "num_heads"),
        ({"num_heads": 0}, "num_heads"),
        ({"num_heads": -1}, "num_heads"),
        ({"embed_dim": 0}, "embed_dim"),
        ({"embed_dim": -8}, "embed_dim"),
        ({"embedding_size": 0}, "embedding_size"),
        ({"embedding_size": -1}, "embedding_size"),
        ({"mlp_ratio": 0}, "mlp_ratio"),
        ({"mlp_ratio": -1.0}, "mlp_ratio"),
        ({"token_drop_rate": 1.0}, "token_drop_rate"),
        ({"gate": "soft"}, "gate"),
        ({"layer_token_blocks": (3,)}, "layer_token_blocks"),
        ({"num_registers": -1}, "num_registers"),
        ({"registers_from": "nowhere"}, "registers_from"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(**settings)
