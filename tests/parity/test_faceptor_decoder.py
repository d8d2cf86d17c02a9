"""Token decoder and Layer-Attention against both recorded stages, alone and all tasks at once."""

from pathlib import Path

import pytest
import torch
from tests.parity.faceptor_packs import Pack, assert_close
from torch import nn

from transface.systems.generalist.decoder.layer_attention import (
    LayerBias,
    LayerMemory,
    layer_preference,
    sincos_positions,
)
from transface.systems.generalist.decoder.task_queries import TaskQueries
from transface.systems.generalist.decoder.token_decoder import TokenDecoder
from transface.systems.generalist.released import converted


class Decoding(nn.Module):
    """The parts of a Faceptor between encoder and interpreters."""

    def __init__(self, pack: Pack) -> None:
        super().__init__()
        cfg = pack.cfg
        self.queries = TaskQueries(dict(zip(cfg["task_names"], cfg["query_nums"], strict=True)), cfg["hidden_dim"])
        self.memory = LayerMemory(cfg["in_channels"], cfg["hidden_dim"], cfg["levels_in_memory_order"])
        self.decoder = TokenDecoder(cfg["hidden_dim"], cfg["nheads"], cfg["ffn"], cfg["layers"])
        self.load_state_dict(converted(pack.state()))

    def memory_of(self, pack: Pack, tag: str):
        maps = {layer: pack[f"in/{tag}/level_{layer:02d}"] for layer in self.memory.layers}
        side = pack.cfg["grids"][tag][0]
        return self.memory({layer: one.flatten(2).transpose(1, 2) for layer, one in maps.items()}, (side, side))


@pytest.fixture(scope="module", params=["decoder_stage1", "decoder_stage2"])
def pack(request: pytest.FixtureRequest, shared: Path) -> Pack:
    return Pack(shared, request.param)


@torch.no_grad()
def test_tokens_attention_and_level_preference_equal_the_recorded_ones(pack: Pack) -> None:
    model = Decoding(pack)
    for tag in pack.cfg["grids"]:
        memory = model.memory_of(pack, tag)
        for name in pack.cfg["task_names"]:
            queries = model.queries(name)
            tokens = model.decoder(queries, memory)
            assert_close(tokens.transpose(0, 1), pack[f"out/{tag}/{name}/tokens"])
            for layer, weights in enumerate(model.decoder.attention(queries, memory)):
                mean = weights.mean(1)
                assert_close(mean, pack[f"out/{tag}/{name}/cross_attention_mean_over_heads_layer_{layer}"])
                preference = layer_preference(mean, len(model.memory.layers))
                assert_close(preference, pack[f"out/{tag}/{name}/level_preference"][layer])
                assert_close(preference.sum(-1), torch.ones(preference.shape[:-1]))


@torch.no_grad()
def test_memory_and_positions_equal_the_recorded_ones(pack: Pack) -> None:
    model = Decoding(pack)
    for tag, (side, _) in pack.cfg["grids"].items():
        memory = model.memory_of(pack, tag)
        assert_close(
            memory.tokens[:, : side * side].transpose(0, 1),
            pack[f"out/{tag}/memory_level_{model.memory.layers[0]:02d}"],
        )
        assert_close(sincos_positions(side, side, pack.cfg["hidden_dim"]), pack[f"out/{tag}/sincos_before_mlp"])
        assert_close(model.memory.positions((side, side)), pack[f"out/{tag}/position_without_level_embedding"][:, 0])


@torch.no_grad()
def test_all_tasks_in_one_pass_give_the_tokens_of_one_at_a_time(pack: Pack) -> None:
    model = Decoding(pack).double()
    for tag in pack.cfg["grids"]:
        maps = {
            layer: pack[f"in/{tag}/level_{layer:02d}"].double().flatten(2).transpose(1, 2)
            for layer in model.memory.layers
        }
        side = pack.cfg["grids"][tag][0]
        memory = model.memory(maps, (side, side))
        names = pack.cfg["task_names"]
        queries = model.queries(*names)
        joint = model.decoder(queries, memory).split(list(queries.counts.values()), 1)
        for name, tokens in zip(names, joint, strict=True):
            torch.testing.assert_close(tokens, model.decoder(model.queries(name), memory), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_bias_of_minus_infinity_on_the_new_layers_is_the_first_stage(pack: Pack) -> None:
    model = Decoding(pack)
    if len(model.memory.layers) == 1:
        pytest.skip("one layer has nothing to hide")
    first = pack.cfg["levels_in_memory_order"][0]
    for tag, (side, batch) in pack.cfg["grids"].items():
        memory = model.memory_of(pack, tag)
        maps = {first: pack[f"in/{tag}/level_{first:02d}"].flatten(2).transpose(1, 2)}
        alone = model.memory(maps, (side, side), [first])
        for name in pack.cfg["task_names"]:
            queries = model.queries(name)
            bias = LayerBias([name], len(model.memory.layers), start=-torch.inf)
            assert_close(bias.profile(name)[0], torch.eye(len(model.memory.layers))[0])
            hidden = model.decoder(queries, memory, bias(queries.counts, side * side))
            assert hidden.shape[0] == batch
            assert_close(hidden, model.decoder(queries, alone))
