"""Released weights: made-up state dicts in the naming of each family, misfits, hostile files.

The references run the state dicts as their families' networks do, written as plain functions of their own key names.
"""

import argparse
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

import transface
from transface.backbones.face_vit import FaceViT
from transface.backbones.iresnet import IResNet
from transface.backbones.mobilefacenet import MobileFaceNet
from transface.backbones.released import load_released
from transface.backbones.timm_face import TimmFace
from transface.backbones.weights.finetuning import load_pretrained
from transface.backbones.weights.released_families import read_released
from transface.backbones.weights.state_dicts import find_misfits, read_state_dict

WIDTHS = (64, 128, 256, 512)


def norm(x: Tensor, state: dict[str, Tensor], name: str, epsilon: float = 1e-5) -> Tensor:
    statistics = (state[f"{name}.running_mean"], state[f"{name}.running_var"])
    return F.batch_norm(x, *statistics, state.get(f"{name}.weight"), state.get(f"{name}.bias"), eps=epsilon)


def made_up_norm(channels: int, name: str, *, affine: bool = True) -> dict[str, Tensor]:
    state = {f"{name}.running_mean": torch.randn(channels) * 0.1, f"{name}.running_var": torch.rand(channels) + 0.5}
    state |= {f"{name}.num_batches_tracked": torch.tensor(7)}
    return state | (
        {f"{name}.weight": torch.rand(channels) + 0.5, f"{name}.bias": torch.randn(channels) * 0.1} if affine else {}
    )


def made_up_ir(depths: tuple[int, ...], embedding_size: int = 8) -> dict[str, Tensor]:
    """Weights named as AdaFace and CVLface name those of an IR network for 112 x 112."""
    state = {"input_layer.0.weight": torch.randn(64, 3, 3, 3) * 0.2, "input_layer.2.weight": torch.rand(64) * 0.3}
    state |= made_up_norm(64, "input_layer.1")
    unit, channels = 0, 64
    for width, depth in zip(WIDTHS, depths, strict=True):
        for _ in range(depth):
            name = f"body.{unit}"
            state |= made_up_norm(channels, f"{name}.res_layer.0")
            state[f"{name}.res_layer.1.weight"] = torch.randn(width, channels, 3, 3) * 0.05
            state |= made_up_norm(width, f"{name}.res_layer.2")
            state[f"{name}.res_layer.3.weight"] = torch.rand(width) * 0.3
            state[f"{name}.res_layer.4.weight"] = torch.randn(width, width, 3, 3) * 0.05
            state |= made_up_norm(width, f"{name}.res_layer.5")
            if channels != width:
                state[f"{name}.shortcut_layer.0.weight"] = torch.randn(width, channels, 1, 1) * 0.1
                state |= made_up_norm(width, f"{name}.shortcut_layer.1")
            unit, channels = unit + 1, width
    state |= made_up_norm(512, "output_layer.0")
    state |= {
        "output_layer.3.weight": torch.randn(embedding_size, 512 * 49) * 0.01,
        "output_layer.3.bias": torch.randn(embedding_size),
    }
    return state | made_up_norm(embedding_size, "output_layer.4", affine=False)


def run_ir(state: dict[str, Tensor], images: Tensor, depths: tuple[int, ...]) -> Tensor:
    x = F.conv2d(images, state["input_layer.0.weight"], padding=1)
    x = F.prelu(norm(x, state, "input_layer.1"), state["input_layer.2.weight"])
    unit = 0
    for depth in depths:
        for position in range(depth):
            name, stride = f"body.{unit}", 2 if position == 0 else 1
            y = F.conv2d(norm(x, state, f"{name}.res_layer.0"), state[f"{name}.res_layer.1.weight"], padding=1)
            y = F.prelu(norm(y, state, f"{name}.res_layer.2"), state[f"{name}.res_layer.3.weight"])
            y = norm(
                F.conv2d(y, state[f"{name}.res_layer.4.weight"], stride=stride, padding=1), state, f"{name}.res_layer.5"
            )
            shortcut = state.get(f"{name}.shortcut_layer.0.weight")
            if shortcut is not None:
                y = y + norm(F.conv2d(x, shortcut, stride=stride), state, f"{name}.shortcut_layer.1")
            x, unit = (y if shortcut is not None else y + F.max_pool2d(x, 1, stride)), unit + 1
    x = norm(x, state, "output_layer.0").flatten(1)
    return norm(x @ state["output_layer.3.weight"].T + state["output_layer.3.bias"], state, "output_layer.4")


def made_up_vit(
    width: int, depth: int, side: int, mlp_ratio: int, *, masked: bool = True, gated: bool = False
) -> dict[str, Tensor]:
    """Weights named as TransFace, arcface_torch and CVLface name those of a vision transformer for 112 x 112."""
    count = (112 // side) ** 2
    state = {
        "patch_embed.proj.weight": torch.randn(width, 3, side, side) * 0.1,
        "patch_embed.proj.bias": torch.randn(width) * 0.1,
    }
    state["pos_embed"] = torch.randn(1, count, width)
    if masked:
        state["mask_token"] = torch.randn(1, 1, width)
    if gated:
        state |= {
            "senet.0.weight": torch.randn(count, count * width) * 0.05,
            "senet.2.weight": torch.randn(count, count),
        }
    for block in range(depth):
        name = f"blocks.{block}"
        for part in ("norm1", "norm2"):
            state |= {f"{name}.{part}.weight": torch.rand(width) + 0.5, f"{name}.{part}.bias": torch.randn(width) * 0.1}
        for part, rows, columns in (
            ("attn.proj", width, width),
            ("mlp.fc1", mlp_ratio * width, width),
            ("mlp.fc2", width, mlp_ratio * width),
        ):
            state |= {
                f"{name}.{part}.weight": torch.randn(rows, columns) * 0.2,
                f"{name}.{part}.bias": torch.randn(rows) * 0.1,
            }
        state[f"{name}.attn.qkv.weight"] = torch.randn(3 * width, width) * 0.5
    state |= {"norm.weight": torch.rand(width) + 0.5, "norm.bias": torch.randn(width) * 0.1}
    state |= {"feature.0.weight": torch.randn(width, count * width) * 0.05, "feature.2.weight": torch.randn(8, width)}
    return state | made_up_norm(width, "feature.1") | made_up_norm(8, "feature.3")


def run_vit(state: dict[str, Tensor], images: Tensor, heads: int) -> Tensor:
    width, _, side, _ = state["patch_embed.proj.weight"].shape
    x = (
        F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=side)
        .flatten(2)
        .transpose(1, 2)
    )
    x = x + state["pos_embed"]
    for block in range(1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))):
        name = f"blocks.{block}"
        y = F.layer_norm(x, (width,), state[f"{name}.norm1.weight"], state[f"{name}.norm1.bias"])
        q, k, v = (
            (y @ state[f"{name}.attn.qkv.weight"].T).view(len(x), -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        )
        y = ((q @ k.transpose(2, 3) * (width // heads) ** -0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + F.linear(y, state[f"{name}.attn.proj.weight"], state[f"{name}.attn.proj.bias"])
        y = F.layer_norm(x, (width,), state[f"{name}.norm2.weight"], state[f"{name}.norm2.bias"])
        y = F.relu6(F.linear(y, state[f"{name}.mlp.fc1.weight"], state[f"{name}.mlp.fc1.bias"]))
        x = x + F.linear(y, state[f"{name}.mlp.fc2.weight"], state[f"{name}.mlp.fc2.bias"])
    x = F.layer_norm(x, (width,), state["norm.weight"], state["norm.bias"])
    if "senet.0.weight" in state:
        x = x * ((x.flatten(1) @ state["senet.0.weight"].T).relu() @ state["senet.2.weight"].T).sigmoid()[..., None]
    x = norm(x.flatten(1) @ state["feature.0.weight"].T, state, "feature.1", 2e-5)
    return norm(x @ state["feature.2.weight"].T, state, "feature.3", 2e-5)


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 112, 112) * 2 - 1


def assert_embeds(model: torch.nn.Module, images: Tensor, expected: Tensor) -> None:
    assert not model.training
    with torch.no_grad():
        torch.testing.assert_close(model(images).embedding, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gated", [True, False], ids=["TransFace", "arcface_torch ViT"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_vision_transformers_of_patch_nine(images: Tensor, gated: bool, prefix: str) -> None:
    state = made_up_vit(32, 2, 9, 4, gated=gated)
    model = load_released(prefixed(state, prefix), num_heads=8)
    assert read_released(state).family.name == ("TransFace" if gated else "arcface_torch ViT")
    assert (model.gate is not None) == gated
    assert_embeds(model, images, run_vit(state, images, 8))


def test_cvlface_vision_transformers(images: Tensor) -> None:
    state = made_up_vit(128, 2, 8, 3, masked=False)
    model = load_released(prefixed(state, "net."))
    assert read_released(prefixed(state, "net.")).family.name == "CVLface ViT"
    assert model.blocks[0].attn.num_heads == 16, "CVLface's base model, told by its MLP ratio"
    assert_embeds(model, images, run_vit(state, images, 16))
    small = load_released(prefixed(made_up_vit(128, 1, 8, 5, masked=False), "net."))
    assert small.blocks[0].attn.num_heads == 8


def test_adaface_takes_bgr_inside_and_rgb_outside(images: Tensor) -> None:
    state = made_up_ir((2, 1, 2, 1))
    lightning = prefixed(state, "model.") | {"head.kernel": torch.zeros(8, 5), "head.t": torch.zeros(1)}
    model = load_released({"epoch": 3, "state_dict": lightning})
    assert read_released(lightning).family.name == "AdaFace IR"
    assert model.depths == (2, 1, 2, 1)
    assert_embeds(model, images, run_ir(state, images.flip(1), (2, 1, 2, 1)))
    assert_embeds(load_released(state), images, run_ir(state, images.flip(1), (2, 1, 2, 1)))


def test_cvlface_ir_networks_take_rgb_unless_told(images: Tensor) -> None:
    state = made_up_ir((1, 2, 1, 1))
    released = prefixed(state, "net.")
    assert read_released(released).family.name == "CVLface IR"
    assert_embeds(load_released(released), images, run_ir(state, images, (1, 2, 1, 1)))
    assert_embeds(load_released(released, channels="bgr"), images, run_ir(state, images.flip(1), (1, 2, 1, 1)))


def test_the_order_of_keys_does_not_matter(images: Tensor) -> None:
    state = made_up_ir((1, 1, 11, 1))  # body.10 sorts before body.2 as a word
    shuffled = {key: state[key] for key in sorted(state)}
    assert_embeds(load_released(shuffled, channels="rgb"), images, run_ir(state, images, (1, 1, 11, 1)))


@pytest.mark.parametrize("embedding_size", [8, 512])
def test_arcface_torch_iresnets(images: Tensor, embedding_size: int) -> None:
    source = IResNet((1, 2, 1, 1), embedding_size=embedding_size).eval()
    state = {key: value for key, value in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    model = load_released(prefixed(state, "module."))
    assert read_released(state).family.name == "arcface_torch IResNet"
    assert_embeds(model, images, source(images).embedding)


@pytest.mark.parametrize(("depths", "width"), [((1, 4, 6, 2), 2), ((2, 8, 12, 4), 4)])
def test_arcface_torch_mobilefacenets(images: Tensor, depths: tuple[int, ...], width: int) -> None:
    source = MobileFaceNet(depths, width=width).eval()
    model = load_released(source.state_dict())
    assert read_released(source.state_dict()).family.name == "arcface_torch MobileFaceNet"
    assert_embeds(model, images, source(images).embedding)


def test_our_own_names_are_known_too(images: Tensor) -> None:
    source = FaceViT(embed_dim=128, depth=1, embedding_size=8).eval()
    assert_embeds(load_released(source.state_dict()), images, source(images).embedding)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_of_either_kind_are_opened(tmp_path: Path, images: Tensor, suffix: str) -> None:
    state, path = made_up_vit(32, 1, 9, 4), tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save({"epoch": 1, "state_dict_backbone": state}, path)
    else:
        save_file(state, path)
    assert_embeds(load_released(path, num_heads=4), images, run_vit(state, images, 4))
    assert_embeds(load_released(str(path), num_heads=4), images, run_vit(state, images, 4))


def test_half_precision_weights_become_float32(images: Tensor) -> None:
    state = {
        key: value.half() if value.is_floating_point() else value for key, value in made_up_vit(32, 1, 9, 4).items()
    }
    model = load_released(state, num_heads=4)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_everything_that_does_not_fit_is_listed() -> None:
    state = made_up_vit(32, 2, 9, 4)
    del state["norm.weight"], state["blocks.1.mlp.fc1.bias"]
    state["keypoints.weight"] = torch.zeros(1)
    state["blocks.0.norm1.weight"] = torch.zeros(5)
    with pytest.raises(ValueError, match="do not fit FaceViT") as caught:
        load_released(state)
    message = str(caught.value)
    assert "2 missing: " in message
    for words in (
        "norm.weight",
        "blocks.1.mlp.fc1.bias",
        "1 unexpected: keypoints.weight",
        "blocks.0.norm1.weight is (5,), the model has (32,)",
    ):
        assert words in message


def test_a_long_list_is_cut_and_counted() -> None:
    message = str(find_misfits(FaceViT(embed_dim=16, depth=2), {f"layer{i}": torch.zeros(1) for i in range(40)}))
    assert "40 unexpected" in message
    assert "and 28 more" in message


def test_nothing_changes_if_something_does_not_fit() -> None:
    backbone = FaceViT(embed_dim=16, depth=1, embedding_size=8)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match="do not fit"):
        load_pretrained(backbone, made_up_vit(16, 2, 9, 4))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_fine_tuning_keeps_a_fresh_gate_where_the_weights_have_none(images: Tensor) -> None:
    state = made_up_vit(32, 1, 9, 4)
    backbone = FaceViT(embed_dim=32, depth=1, num_heads=4, embedding_size=8).eval()
    fresh = load_pretrained(backbone, prefixed(state, "module."))
    assert fresh == ("gate.squeeze.weight", "gate.excite.weight")
    with torch.no_grad():
        tokens = backbone.encode(images).tokens
        torch.testing.assert_close(backbone.neck(tokens), run_vit(state, images, 4), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"gate\.squeeze"):
        load_pretrained(backbone, state, may_be_absent=("neck.",))


def test_fine_tuning_takes_our_own_names_and_turns_channels_round_if_told(images: Tensor) -> None:
    source, target = (IResNet((1, 1, 1, 1), embedding_size=8).eval() for _ in range(2))
    assert load_pretrained(target, source.state_dict()) == ()
    assert_embeds(target, images, source(images).embedding)
    load_pretrained(target, source.state_dict(), channels="bgr")
    assert_embeds(target, images, source(images.flip(1)).embedding)


def test_a_part_may_be_fresh_only_as_a_whole() -> None:
    state = made_up_vit(32, 1, 9, 4)
    del state["feature.1.running_var"]
    with pytest.raises(ValueError, match=r"1 missing: neck\.project_norm\.running_var"):
        load_pretrained(FaceViT(embed_dim=32, depth=1, num_heads=4, embedding_size=8), state)


@pytest.mark.parametrize("build", [IResNet, MobileFaceNet])
def test_convolutional_backbones_start_from_a_file(tmp_path: Path, images: Tensor, build: type) -> None:
    source = build((1, 1, 1, 1), embedding_size=8).eval()
    torch.save(source.state_dict(), tmp_path / "start.pt")
    assert_embeds(
        build((1, 1, 1, 1), embedding_size=8, weights=tmp_path / "start.pt").eval(), images, source(images).embedding
    )


def test_transformers_start_from_a_file_with_a_fresh_gate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = made_up_vit(32, 1, 9, 4)
    save_file(state, tmp_path / "start.safetensors")
    with caplog.at_level("INFO"):
        backbone = FaceViT(
            embed_dim=32, depth=1, num_heads=4, embedding_size=8, weights=str(tmp_path / "start.safetensors")
        )
    assert torch.equal(backbone.pos_embed, state["pos_embed"])
    assert "gate.squeeze.weight, gate.excite.weight, which start fresh" in caplog.text


def test_fine_tuning_from_adaface_needs_its_first_shortcut(images: Tensor) -> None:
    state = prefixed(made_up_ir((1, 1, 1, 1)), "model.") | {"head.kernel": torch.zeros(8, 5)}
    backbone = IResNet((1, 1, 1, 1), embedding_size=8, first_shortcut="subsample").eval()
    assert load_pretrained(backbone, {"state_dict": state}) == ()
    assert_embeds(backbone, images, load_released(state)(images).embedding)
    with pytest.raises(ValueError, match=r"missing: layer1\.0\.downsample.*first_shortcut='subsample'"):
        load_pretrained(IResNet((1, 1, 1, 1), embedding_size=8), state)


@pytest.mark.parametrize("averaged", [True, False])
def test_fine_tuning_starts_from_our_runs_and_exported_folders(tmp_path: Path, images: Tensor, averaged: bool) -> None:
    source, other = (FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8).eval() for _ in range(2))
    saved = prefixed((other if averaged else source).state_dict(), "backbone.") | {
        "classifier.centers": torch.zeros(3, 8)
    }
    content = {
        "state_dict": saved | {"classifier._extra_state": {"num_draws": 3}},
        "transface": {"config": {}},
        "global_step": 2,
    }
    content |= {"ema_backbone": source.state_dict()} if averaged else {}
    folder = tmp_path / "run" / "checkpoints" / "best"
    folder.mkdir(parents=True)
    torch.save(content, folder / "trainer.ckpt")
    (tmp_path / "exported").mkdir()
    save_file(prefixed(source.state_dict(), "backbone."), tmp_path / "exported" / "model.safetensors")
    for path in (
        tmp_path / "run",
        folder,
        folder / "trainer.ckpt",
        tmp_path / "exported",
        tmp_path / "exported" / "model.safetensors",
    ):
        fresh = FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8, weights=path).eval()
        assert_embeds(fresh, images, source(images).embedding)
    with pytest.raises(FileNotFoundError, match=r"no weights at .*nowhere"):
        FaceViT(embed_dim=16, depth=1, num_heads=2, weights=tmp_path / "nowhere")


def test_timm_models_start_from_plain_timm_weights_and_from_ours(tmp_path: Path, images: Tensor) -> None:
    source = TimmFace("test_vit", embedding_size=8).eval()
    torch.save(source.model.state_dict() | {"head.weight": torch.zeros(5, 64)}, tmp_path / "timm.pt")
    torch.save(source.state_dict(), tmp_path / "ours.pt")
    plain = TimmFace("test_vit", embedding_size=8, weights=tmp_path / "timm.pt").eval()
    torch.testing.assert_close(plain.encode(images), source.encode(images))
    assert_embeds(
        TimmFace("test_vit", embedding_size=8, weights=tmp_path / "ours.pt").eval(), images, source(images).embedding
    )


class Bomb:
    """A pickle that writes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("modern", [True, False])
def test_hostile_pickles_are_refused_and_never_run(tmp_path: Path, modern: bool) -> None:
    path, trace = tmp_path / "model.pt", tmp_path / "ran"
    content = {"state_dict": made_up_vit(16, 1, 9, 4), "extra": Bomb(trace)}
    if modern:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="nothing in it was run"):
        load_released(path)
    assert not trace.exists()


def test_the_refused_name_is_told(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "extra": Bomb(tmp_path / "ran")}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="nothing in it was run: it names "):
        load_released(tmp_path / "model.pt")


@pytest.mark.parametrize("source", [None, [1], IResNet], ids=["none", "list", "class"])
def test_what_is_neither_a_file_nor_a_state_dict_is_refused(source: Any) -> None:
    with pytest.raises(ValueError, match=r"must be a file or a state dict \(names to tensors\), got"):
        load_released(source)


def test_guessed_heads_of_our_own_bare_weights_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    state = FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8).state_dict()
    assert load_released(state, num_heads=2).blocks[0].attn.num_heads == 2
    assert not caplog.messages
    load_released(state)
    assert "num_heads=... says otherwise" in caplog.text


def test_no_heads_at_all_are_not_taken_for_the_usual_ones() -> None:
    source = FaceViT(embed_dim=16, depth=1, num_heads=4, embedding_size=8)
    with pytest.raises(ValueError, match="num_heads"):
        load_released(source.state_dict(), num_heads=0)


def test_a_pickle_of_something_else_is_refused_in_a_few_words(tmp_path: Path) -> None:
    (tmp_path / "pairs.bin").write_bytes(pickle.dumps(([b"a"], [True]), protocol=4))
    with pytest.raises(
        ValueError, match=r"nothing in it was run: torch\.save did not write it \(its pickle holds the code \d+\)$"
    ):
        load_released(tmp_path / "pairs.bin")


@pytest.mark.parametrize("head", ["head.weight", "margin.weight", "fc.weight", "criterion.kernel", "weight"])
@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone.", "net."])
def test_a_head_beside_the_backbone_is_left_out(images: Tensor, prefix: str, head: str) -> None:
    source = IResNet((1, 1, 1, 1), embedding_size=8).eval()
    beside = {("module." if prefix.startswith("module.") else "") + head: torch.zeros(5, 8)}
    assert_embeds(load_released(prefixed(source.state_dict(), prefix) | beside), images, source(images).embedding)


@pytest.mark.parametrize("wrapper", ["net", "network", "module", "weights"])
def test_wrapped_weights_with_a_head_among_them_are_opened(images: Tensor, wrapper: str) -> None:
    source = IResNet((1, 1, 1, 1), embedding_size=8).eval()
    content = {wrapper: source.state_dict() | {"head.kernel": torch.zeros(8, 5)}, "epoch": 3}
    assert_embeds(load_released(content), images, source(images).embedding)
    with pytest.raises(ValueError, match=r"1 unexpected: tail\.weight"):
        load_released({wrapper: source.state_dict() | {"tail.weight": torch.zeros(1)}})


def test_what_lies_beside_the_weights_of_old_checkpoints_is_passed_over(
    tmp_path: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Old versions of Lightning wrote a callback's class as a key, which needs the package to be read with.
    kind = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks.model_checkpoint"})
    settings = type("AttributeDict", (dict,), {"__module__": "pytorch_lightning.utilities.parsing"})
    for name in ("", ".callbacks", ".callbacks.model_checkpoint", ".utilities", ".utilities.parsing"):
        module = ModuleType(f"pytorch_lightning{name}")
        module.ModelCheckpoint, module.AttributeDict = kind, settings  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    state = made_up_ir((1, 1, 1, 1))
    beside = {
        "callbacks": {kind: {"best": np.float64(0.9)}},
        "hyper_parameters": settings(lr=0.1, root=tmp_path),
        "args": argparse.Namespace(arch="ir_18"),
    }
    torch.save({"state_dict": prefixed(state, "model.")} | beside, tmp_path / "adaface.ckpt")
    for name in [name for name in sys.modules if name.startswith("pytorch_lightning")]:
        monkeypatch.delitem(sys.modules, name)
    expected = run_ir(state, images.flip(1), (1, 1, 1, 1))
    assert_embeds(load_released(tmp_path / "adaface.ckpt"), images, expected)
    torch.testing.assert_close(
        transface.load(tmp_path / "adaface.ckpt").embed(images), F.normalize(expected), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04broken", b"\x80\x02}q\x00.", b"\x80\x02."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model"):
        read_state_dict(path)


def test_a_missing_file_and_a_file_without_tensors_and_an_unknown_family_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        load_released(tmp_path / "nowhere.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    with pytest.raises(ValueError, match="must hold a state dict"):
        load_released(tmp_path / "numbers.pt")
    with pytest.raises(ValueError, match=r"no known family .*fc1\.weight"):
        load_released({"fc1.weight": torch.zeros(1)})


def test_networks_with_tables_of_relative_positions_are_refused_by_name() -> None:
    state = {
        "net.pos_embed": torch.zeros(1, 144, 8),
        "net.blocks.0.attn.rpe_k.lookup_table_weight": torch.zeros(2, 4, 8),
    }
    with pytest.raises(ValueError, match="tables in every block"):
        load_released(state)


def test_bottleneck_networks_and_senseless_settings_are_refused() -> None:
    state = made_up_ir((1, 1, 1, 1))
    with pytest.raises(ValueError, match="num_heads is for vision transformers"):
        load_released(state, num_heads=8)
    with pytest.raises(ValueError, match="'rgb' or 'bgr'"):
        load_released(state, channels="gbr")
    state["body.0.res_layer.7.weight"] = torch.zeros(256, 64, 1, 1)
    with pytest.raises(ValueError, match="bottleneck"):
        load_released(state)


def test_weights_without_names_are_refused(tmp_path: Path) -> None:
    torch.save({0: torch.zeros(3)}, tmp_path / "nameless.pt")
    with pytest.raises(
        ValueError, match=r"nameless\.pt must hold a state dict \(names to tensors\), got the key 0 \(int\)"
    ):
        load_released(tmp_path / "nameless.pt")
