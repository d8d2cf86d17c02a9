"""timm models as face backbones: grids, normalisation, frozen leftovers."""

from pathlib import Path

import pytest
import timm
import torch

from transface.backbones.timm_encoder import TimmEncoder
from transface.backbones.timm_face import TimmFace
from transface.systems.recognition.dpap import DPAP


@pytest.mark.parametrize(
    ("name", "settings", "grid", "patch"),
    [
        ("test_vit", {}, (7, 7), 16),
        ("test_vit", {"input_size": 160}, (10, 10), 11),
        ("test_vit3", {}, (7, 7), 16),
        ("test_resnet", {}, (4, 4), 28),
        ("test_convnext", {}, (3, 3), 37),
        ("swin_tiny_patch4_window7_224", {"model_settings": {"embed_dim": 24, "depths": (1, 1, 1, 1)}}, (4, 4), 28),
        ("vit_small_patch14_reg4_dinov2", {"model_settings": {"embed_dim": 48, "depth": 1}}, (8, 8), 14),
    ],
)
def test_tokens_are_a_grid_over_the_image(
    name: str, settings: dict[str, object], grid: tuple[int, int], patch: int
) -> None:
    model = TimmFace(name, embedding_size=16, **settings).eval()
    features = model(torch.rand(2, 3, 112, 112) * 2 - 1)
    assert (model.grid_size, model.patch_size, model.image_size) == (grid, patch, (112, 112))
    assert features.tokens.shape[:2] == (2, grid[0] * grid[1])
    assert features.patch_importance.shape == (2, grid[0] * grid[1])


def test_tokens_are_those_of_timm_on_images_normalised_its_way() -> None:
    model = TimmFace("test_vit", gate="none").eval()
    images = torch.rand(2, 3, 112, 112)
    mean, std = (torch.tensor(model.model.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = model.model.forward_features((images - mean) / std)[:, model.model.num_prefix_tokens :]
    torch.testing.assert_close(model(images * 2 - 1).tokens, expected, rtol=1e-4, atol=1e-4)


def test_maps_become_tokens_row_by_row() -> None:
    model = TimmFace("test_resnet", gate="none").eval()
    images = torch.rand(1, 3, 112, 112) * 2 - 1
    maps = model.model.forward_features(images * model.factor + model.shift)
    torch.testing.assert_close(model(images).tokens[0, 4 * 1 + 2], maps[0, :, 1, 2])


def test_parameters_no_token_depends_on_are_frozen_and_all_others_get_gradients() -> None:
    model = TimmFace("test_convnext", embedding_size=16)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"model.head.norm.weight", "model.head.norm.bias"}
    model(torch.rand(3, 3, 112, 112) * 2 - 1).embedding[:, 0].square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_layer_tokens_are_those_of_timm() -> None:
    model = TimmFace("test_vit", layer_token_blocks=(0, 2)).eval()
    images = torch.rand(2, 3, 112, 112) * 2 - 1
    features = model(images)
    caught: list[torch.Tensor] = []
    model.model.blocks[2].register_forward_hook(lambda module, inputs, output: caught.append(output))
    model.encode(images)
    assert len(features.layer_tokens) == 2
    torch.testing.assert_close(features.layer_tokens[1], caught[0][:, model.num_prefix_tokens :])
    torch.testing.assert_close(features.embedding, TimmFaceCopy(model)(images))


class TimmFaceCopy:
    """The same model asked for no layer tokens."""

    def __init__(self, model: TimmFace) -> None:
        self.model = TimmFace("test_vit").eval()
        self.model.load_state_dict(model.state_dict())

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images).embedding


def test_dpap_perturbs_its_patches() -> None:
    model = TimmFace("test_vit")
    images = torch.rand(3, 3, 112, 112) * 2 - 1
    result, _, chosen = DPAP(3, 1.0, scoring_precision=None).perturb(
        images, model, generator=torch.Generator().manual_seed(0)
    )
    changed = (result != images).any(1)[0].unfold(0, 16, 16).unfold(1, 16, 16).any(-1).any(-1).flatten()
    assert sorted(chosen[0].tolist()) == changed.nonzero().flatten().tolist()


def test_layer_index_follows_timm_and_ends_with_the_neck() -> None:
    model = TimmFace("test_vit")
    found = [
        model.layer_index(name)
        for name in ("model.cls_token", "model.blocks.0.norm1.weight", "model.norm.weight", "neck.embed.weight")
    ]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] == 1 + max(
        model.layer_index(name) for name, _ in model.named_parameters() if name.startswith("model.")
    )
    assert model.layer_index("gate.excite.weight") == found[-1]


@pytest.mark.parametrize(("name", "prefix"), [("gcvit_xxtiny", 0), ("volo_d1_224", 1)])
def test_models_that_take_no_112_pixels_or_name_no_prefix_are_taken(name: str, prefix: int) -> None:
    model = TimmFace(name, embedding_size=8).eval()
    assert model.input_size == ((224, 224) if name == "gcvit_xxtiny" else (112, 112))
    assert (model.grid_size, model.patch_size, model.num_prefix_tokens) == ((7, 7), 16, prefix)
    assert model(torch.rand(1, 3, 112, 112) * 2 - 1).embedding.shape == (1, 8)


def test_what_a_model_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"crossvit_tiny_240 makes no grid of tokens of images of 112x112 nor of 240x240: .*list"
    ):
        TimmFace("crossvit_tiny_240")
    model = TimmFace("test_vit")
    monkeypatch.delattr(type(model.model), "group_matcher")
    with pytest.raises(ValueError, match=r"what the layers of VisionTransformer are: use layer_decay=1\.0"):
        model.layer_index("model.norm.weight")


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ValueError, match=f"timm {timm.__version__} has no model 'vit_enormous'"):
        TimmFace("vit_enormous")
    with pytest.raises(ValueError, match="gate"):
        TimmFace("test_vit", gate="soft")


def test_weights_that_cannot_be_had_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **settings: object) -> None:
        raise OSError("cannot reach the hub\nand more")

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(
        FileNotFoundError, match=r"weights of test_vit \(cannot reach the hub\); give a file by weights="
    ):
        TimmFace("test_vit", pretrained=True)
    with pytest.raises(OSError, match="cannot reach"):
        TimmFace("test_vit")


def test_gradient_checkpointing_changes_no_gradient() -> None:
    images = torch.rand(3, 3, 112, 112) * 2 - 1
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = TimmFace("test_vit", embedding_size=8, gradient_checkpointing=recompute)
        assert model.model.grad_checkpointing == recompute
        model(images).embedding[:, 0].square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_registers_are_those_of_timm_and_feed_nothing_but_the_blocks() -> None:
    plain = TimmEncoder("test_vit")
    model = TimmFace("test_vit", num_registers=4, layer_token_blocks=(1,), embedding_size=16).eval()
    assert (plain.num_prefix_tokens, model.num_prefix_tokens) == (1, 5)
    assert model.model.reg_token.shape[1] == 4
    features = model(torch.rand(2, 3, 112, 112) * 2 - 1)
    assert features.tokens.shape[1] == features.layer_tokens[0].shape[1] == 49
    encoded = TimmEncoder("test_vit", num_registers=4, layers=(1,)).eval()(torch.rand(2, 3, 112, 112))
    assert encoded.prefix_tokens.shape[1] == encoded.layer_prefix_tokens[0].shape[1] == 5
    assert TimmEncoder("vit_small_patch14_reg4_dinov2", num_registers=0).num_prefix_tokens == 1


def test_no_registers_is_the_timm_model_of_before_to_the_bit() -> None:
    images, embeddings = torch.rand(2, 3, 112, 112), []
    for settings in ({}, {"num_registers": 0}, {"num_registers": None}):
        torch.manual_seed(1)
        embeddings.append(TimmFace("test_vit", embedding_size=16, **settings).eval()(images).embedding)
    assert torch.equal(embeddings[0], embeddings[1])
    assert torch.equal(embeddings[0], embeddings[2])


def test_registers_of_a_model_that_takes_none_are_refused() -> None:
    TimmFace("test_resnet", num_registers=0)
    with pytest.raises(ValueError, match="test_resnet takes no register tokens"):
        TimmFace("test_resnet", num_registers=2)
    with pytest.raises(ValueError, match="num_registers must be at least 0"):
        TimmEncoder("test_vit", num_registers=-1)


def test_timm_weights_without_registers_start_a_model_with_them_only_if_asked(tmp_path: Path) -> None:
    plain = TimmEncoder("test_vit", model_settings={"no_embed_class": True})
    torch.save(plain.model.state_dict(), tmp_path / "plain.pt")
    settings = {"num_registers": 2, "model_settings": {"no_embed_class": True}, "weights": tmp_path / "plain.pt"}
    with pytest.raises(ValueError, match="registers_from='fresh'"):
        TimmEncoder("test_vit", **settings)
    model = TimmEncoder("test_vit", registers_from="fresh", **settings)
    assert torch.equal(model.model.pos_embed, plain.model.pos_embed)
