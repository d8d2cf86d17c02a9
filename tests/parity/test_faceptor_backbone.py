"""ClipViT against the recorded tower of the released Faceptor."""

from pathlib import Path

import pytest
import torch
from tests.parity.faceptor_packs import Pack, assert_close

from transface.backbones.clip_vit import ClipViT, load_clip_tower, resize_positions


@pytest.fixture(scope="module")
def pack(shared: Path) -> Pack:
    return Pack(shared, "farl_backbone")


def tower_of(pack: Pack) -> ClipViT:
    cfg = pack.cfg
    return ClipViT(
        image_size=cfg["inputs"]["small"][0],
        position_size=cfg["forced_resolution"],
        patch_size=cfg["patch"],
        width=cfg["width"],
        depth=cfg["depth"],
        num_heads=cfg["heads"],
        output_width=cfg["output_dim"],
        drop_path=cfg["drop_path"],
        layers=range(cfg["depth"]),
    ).eval()


def test_every_level_at_both_sizes_equals_the_recorded_one_from_the_file_before_loading(pack: Pack) -> None:
    tower = tower_of(pack)
    checkpoint = pack.state("module.backbone_module.") | {
        "visual.positional_embedding": pack["ckpt_positional_embedding"]
    }
    load_clip_tower(tower, {"state_dict": checkpoint})
    assert_close(tower.positional_embedding, pack["sd/module.backbone_module.visual.positional_embedding"])
    for tag in pack.cfg["inputs"]:
        with torch.no_grad():
            encoded = tower(pack[f"in/image_{tag}"])
        for level, tokens in enumerate(encoded.layers):
            recorded = pack[f"out/{tag}/level_{level:02d}"]
            assert_close(tokens.transpose(1, 2).reshape(recorded.shape), recorded)
            assert_close(tokens, recorded.flatten(2).transpose(1, 2))


def test_positions_are_resized_without_antialiasing_and_keep_the_class_token(pack: Pack) -> None:
    table = pack["sd/module.backbone_module.visual.positional_embedding"]
    for tag, (side, _) in pack.cfg["inputs"].items():
        grid = side // pack.cfg["patch"]
        resized = resize_positions(table, (grid, grid))
        assert_close(resized, pack[f"out/{tag}/positional_embedding"])
        assert torch.equal(resized[0], table[0])


def test_a_file_of_another_tower_is_refused_by_name(pack: Pack) -> None:
    state = pack.state("module.backbone_module.")
    del state["visual.ln_pre.bias"]
    with pytest.raises(ValueError, match=r"ln_pre\.bias"):
        load_clip_tower(tower_of(pack), state)


def test_a_layer_the_tower_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"layers must be in 0\.\.1"):
        ClipViT(width=8, depth=2, num_heads=2, layers=[2])


def test_images_no_patches_fill_are_refused() -> None:
    tower = ClipViT(image_size=16, position_size=16, patch_size=4, width=8, depth=1, num_heads=2, output_width=4)
    with pytest.raises(ValueError, match="multiples of the patch"):
        tower(torch.zeros(1, 3, 18, 16))
