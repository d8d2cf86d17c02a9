from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from transface.systems.attributes.multi_zone_encoder import MultiZoneEncoder

TINY = {"embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 16}


def encoder_of(name: str = "vit_tiny_patch16_224", **settings: Any) -> MultiZoneEncoder:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"zones": 2, "image_size": 64, "model_settings": TINY}
    return MultiZoneEncoder(name, **(defaults | settings)).double().eval()


def images(count: int = 2, size: tuple[int, int] = (64, 64)) -> torch.Tensor:
    return torch.rand(count, 3, *size, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("kind", ["none", "scalar_mix", "concat_proj", "cls_cross", "depth_attn"])
@pytest.mark.parametrize("zones", [1, 2, 4, [1, 3]])
def test_without_gain_the_last_zone_is_the_plain_timm_transformer(kind: str, zones: Any) -> None:
    encoder = encoder_of(zones=zones, interaction={"kind": kind})
    if encoder.interaction.gain is not None:
        torch.nn.init.zeros_(encoder.interaction.gain)
    x = images()
    plain = encoder.model.forward_features(x * encoder.factor + encoder.shift)[:, 0]
    torch.testing.assert_close(encoder(x).tokens[:, -1], plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vit_small_patch14_reg4_dinov2", {"embed_dim": 32, "depth": 4, "num_heads": 2}),
        ("deit3_small_patch16_224", TINY),
        ("vit_tiny_patch16_224", TINY | {"qk_norm": True, "init_values": 0.1}),
        ("eva02_tiny_patch14_224", {"depth": 4}),
        ("vit_base_patch16_clip_224", TINY),
    ],
)
def test_transformers_of_other_build_are_regrouped_without_a_change(name: str, settings: dict[str, Any]) -> None:
    encoder = encoder_of(
        name, image_size=56 if "14" in name else 64, model_settings=settings, interaction={"kind": "none"}
    )
    x = images(1, encoder.image_size)
    plain = encoder.model.forward_features(x * encoder.factor + encoder.shift)[:, 0]
    torch.testing.assert_close(encoder(x).tokens[:, -1], plain, rtol=0, atol=1e-9)


def test_weights_of_the_plain_model_load_under_its_names(tmp_path: Path) -> None:
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64, **TINY)  # type: ignore[arg-type]
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    encoder = MultiZoneEncoder(
        "vit_tiny_patch16_224", zones=2, image_size=64, model_settings=TINY, weights=tmp_path / "plain.pth"
    )
    assert all(torch.equal(value, encoder.model.state_dict()[key]) for key, value in plain.state_dict().items())


@pytest.mark.parametrize("zone_tokens", ["causal", "none"])
def test_ending_early_gives_what_the_first_zones_give(zone_tokens: Any) -> None:
    encoder = encoder_of(zones=4, zone_tokens=zone_tokens, interaction={"kind": "depth_attn", "gain_init": 1.0})
    x = images()
    whole = encoder(x).tokens
    for zone in (1, 2, 3):
        torch.testing.assert_close(encoder(x, until=zone).tokens, whole[:, :zone], rtol=0, atol=1e-9)


def test_where_class_tokens_look_sums_to_one_and_equals_the_attention_written_out() -> None:
    encoder = encoder_of(interaction={"kind": "none"})
    x = images(1)
    looks = encoder(x, attention=True).attention
    assert looks is not None
    torch.testing.assert_close(looks.sum(-1), torch.ones(1, 2, dtype=torch.float64))
    tokens, _ = encoder.embed(x)
    tokens = encoder.model.blocks[0](tokens)
    attention = encoder.model.blocks[1].attn
    query, key = attention.qkv(encoder.model.blocks[1].norm1(tokens))[0].split(32, -1)[:2]
    shares = [(query[0, h : h + 16] @ key[:, h : h + 16].T / 4).softmax(0)[1:] for h in (0, 16)]
    mean = (shares[0] + shares[1]) / 2
    torch.testing.assert_close(looks[0, 0], mean / mean.sum())


def test_several_class_tokens_are_read_as_their_mean() -> None:
    encoder = encoder_of(num_class_tokens=3, interaction={"kind": "cls_cross"})
    assert encoder(images()).tokens.shape == (2, 2, 32)
    assert encoder.num_prefix_tokens == 3
    looks = encoder(images(), attention=True).attention
    assert looks is not None
    assert looks.shape == (2, 2, 16)


def test_images_that_are_not_square_are_taken() -> None:
    encoder = encoder_of(image_size=(64, 48))
    assert encoder.grid_size == (4, 3)
    assert encoder(images(1, (64, 48))).tokens.shape == (1, 2, 32)


def test_recomputing_blocks_changes_neither_tokens_nor_gradients() -> None:
    results = []
    for recompute in (False, True):
        encoder = encoder_of(gradient_checkpointing=recompute).train()
        torch.manual_seed(3)
        tokens = encoder(images()).tokens
        tokens.square().sum().backward()
        results.append((tokens.detach(), encoder.model.patch_embed.proj.weight.grad))
    torch.testing.assert_close(results[0], results[1])


def test_every_parameter_gets_a_gradient() -> None:
    encoder = encoder_of(zones=4, num_class_tokens=2).train()
    encoder(images()).tokens.square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


def test_layers_are_counted_from_the_patches_to_what_is_new() -> None:
    encoder = encoder_of()
    depths = {name: encoder.layer_index(name) for name, _ in encoder.named_parameters()}
    assert depths["model.patch_embed.proj.weight"] == depths["model.cls_token"] == 0
    assert depths["model.blocks.3.mlp.fc1.weight"] == 4
    assert depths["model.norm.weight"] == depths["interaction.gain"] == depths["zone_norms.0.weight"] == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "resnet18 cannot be built as one"),
        ("vit_base_patch16_gap_224", "needs the class token|has none"),
        ("beit_base_patch16_224", "is a Beit"),
        ("deit_tiny_distilled_patch16_224", "distilled"),
        ("vit_enormous", "timm .* has no model 'vit_enormous'"),
    ],
)
def test_models_without_a_class_token_of_their_own_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiZoneEncoder(name, image_size=64)


def test_zones_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to the 4 blocks"):
        encoder_of(zones=[2, 3])
