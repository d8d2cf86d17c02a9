"""Interpreters against recorded answers: values, maps, points, regions, embeddings."""

from pathlib import Path

import pytest
import torch
from tests.parity.faceptor_packs import Pack, assert_close
from torch import nn

from transface.systems.generalist.decoder.interpreters import (
    IdentityInterpreter,
    MapInterpreter,
    ValueInterpreter,
    soft_argmax,
    upsampled_regions,
)
from transface.systems.generalist.released import our_key


class Readers(nn.Module):
    """The three shared instances."""

    def __init__(self, pack: Pack) -> None:
        super().__init__()
        cfg = pack.cfg
        self.value = ValueInterpreter(cfg["hidden_dim"])
        self.map = MapInterpreter(cfg["hidden_dim"])
        self.identity = IdentityInterpreter(cfg["in_channels"], cfg["embed_dim"])
        used = ("feature_v2.", "value.", "map_v2.")
        start = "module.heads_module.interpreters."
        state = {start + key: value for key, value in pack.state(start).items() if key.startswith(used)}
        self.load_state_dict({ours: value for key, value in state.items() if (ours := our_key(key))})


@pytest.fixture(scope="module")
def pack(shared: Path) -> Pack:
    return Pack(shared, "interpreters")


@torch.no_grad()
def test_values_and_maps_equal_the_recorded_ones(pack: Pack) -> None:
    readers = Readers(pack).eval()
    tokens = pack["in/tokens"].transpose(0, 1)
    side = pack.cfg["grid"]
    features = pack["in/memory_level_11"].permute(1, 2, 0).unflatten(2, (side, side))
    assert_close(readers.value(tokens), pack["out/value"])
    assert_close(readers.map.pixel_decoder(features), pack["out/map_v2_pixel_embedding"])
    assert_close(readers.map.token_mlp(tokens), pack["out/map_v2_token_embedding"])
    maps = readers.map(tokens, features)
    assert_close(maps, pack["out/map_v2"])
    assert_close(upsampled_regions(maps, tuple(pack.cfg["parsing_out"])).permute(0, 2, 3, 1), pack["out/parsing_map"])
    assert_close(
        upsampled_regions(maps, (512, 512)).permute(0, 2, 3, 1)[:, 5::16, 3::16], pack["out/parsing_map_512_every_16th"]
    )
    assert_close(maps.sigmoid(), pack["out/landmark_heatmap_sigmoid"])
    assert_close(soft_argmax(maps), pack["out/landmark_normalised"])


def test_points_of_sharp_and_of_dead_maps_equal_the_recorded_ones(pack: Pack) -> None:
    assert_close(soft_argmax(pack["in/sharp_map"]), pack["out/sharp_landmark_normalised"])
    assert_close(soft_argmax(pack["in/dead_map"]), pack["out/dead_landmark_normalised"])


@torch.no_grad()
def test_embeddings_and_running_statistics_equal_the_recorded_ones(pack: Pack) -> None:
    readers = Readers(pack)
    tokens = pack["in/feature_last_level"].flatten(2).transpose(1, 2)
    assert_close(readers.eval().identity(tokens), pack["out/feature_v2_eval"])
    assert_close(readers.train().identity(tokens), pack["out/feature_v2_train"])
    start = "after_one_train_step/module.heads_module.interpreters.feature_v2."
    for key in pack.below(start):
        assert_close(readers.identity.state_dict()[key], pack[start + key])
