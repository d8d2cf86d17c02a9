"""The heads of Naive Faceptor against recorded answers."""

from pathlib import Path

import pytest
import torch
from tests.parity.faceptor_packs import Pack, assert_close
from torch import nn

from transface.systems.generalist.decoder.interpreters import IdentityInterpreter, soft_argmax, upsampled_regions
from transface.systems.generalist.decoder.naive_heads import ATTRIBUTE_LAYERS, DENSE_LAYERS, AttributeHead, DenseHead
from transface.systems.generalist.released import our_key

START = "module.heads_module.heads."


@pytest.fixture(scope="module")
def pack(shared: Path) -> Pack:
    return Pack(shared, "heads_naive")


def loaded(head: nn.Module, pack: Pack, released: str) -> nn.Module:
    head.load_state_dict(pack.state(f"{START}{released}."))
    return head.eval()


def attribute_head(pack: Pack) -> tuple[AttributeHead, dict[int, torch.Tensor]]:
    cfg = pack.cfg
    head = AttributeHead(
        cfg["in_features"], dict(zip(cfg["attr_tasks"], cfg["attr_outputs"], strict=True)), cfg["attr_width"]
    )
    loaded(head, pack, cfg["attr_tasks"][0].split("_")[0])
    return head, {layer: pack[f"in/level_{layer:02d}"] for layer in ATTRIBUTE_LAYERS}


@torch.no_grad()
def test_the_identity_head_equals_the_recorded_one(pack: Pack) -> None:
    head = loaded(IdentityInterpreter(pack.cfg["in_features"], pack.cfg["embed_dim"]), pack, "recog")
    tokens = pack["in/level_11"].flatten(2).transpose(1, 2)
    assert_close(head(tokens), pack["out/identity_eval"])
    assert_close(head.train()(tokens), pack["out/identity_train"])


@torch.no_grad()
def test_the_attribute_head_equals_the_recorded_one(pack: Pack) -> None:
    head, maps = attribute_head(pack)
    convolved = head.convolved(maps)
    assert_close(convolved, pack["out/attribute_after_convolutions"])
    assert_close(head.channel_attention(convolved), pack["out/attribute_after_channel_gate"])
    for name in pack.cfg["attr_tasks"]:
        assert_close(head.eval()(maps, name), pack[f"out/{name}_eval"])


@torch.no_grad()
def test_the_attribute_head_in_training_equals_the_recorded_one(pack: Pack) -> None:
    for name in pack.cfg["attr_tasks"]:
        key = f"out/{name}_train_without_dropout"
        if key in pack.arrays:
            head, maps = attribute_head(pack)
            head.train()
            for part in head.modules():
                if isinstance(part, nn.Dropout):
                    part.eval()
            assert_close(head(maps, name), pack[key])


@torch.no_grad()
def test_the_dense_head_equals_the_recorded_one(pack: Pack) -> None:
    cfg = pack.cfg
    outputs = dict(zip(cfg["dense_tasks"], cfg["dense_outputs"], strict=True))
    head = DenseHead(cfg["in_features"], outputs, cfg["dense_channels"])
    loaded(head, pack, cfg["dense_tasks"][0].split("_")[0])
    maps = {layer: pack[f"in/dense_level_{layer:02d}"] for layer in DENSE_LAYERS}
    pyramid = head.pyramid(maps)
    for index, scale in enumerate(pyramid):
        assert_close(scale, pack[f"out/dense_pyramid_{index}"])
    assert_close(head.head.pooled(pyramid[3]), pack["out/dense_ppm"])
    joined = head.head(pyramid)
    assert_close(joined, pack["out/dense_uper_all_channels"])
    for name, kind in zip(cfg["dense_tasks"], cfg["dense_types"], strict=True):
        own = head.of_dataset(joined, name)
        if kind == "ParsingOutput":
            sampled = upsampled_regions(own, (512, 512)).permute(0, 2, 3, 1)[:, 5::16, 3::16]
            assert_close(sampled, pack[f"out/{name}_512_every_16th"])
        else:
            assert_close(soft_argmax(own), pack[f"out/{name}_landmark"])
            assert_close(own.sigmoid(), pack[f"out/{name}_heatmap"])


def test_every_key_of_the_heads_has_a_place(pack: Pack) -> None:
    for key in pack.state():
        assert (our_key(key) or "heads.").startswith("heads.")
