"""What a Faceptor may have beyond the published one: a linear form of its own for every number, a pixel decoder that
reads several layers, a stem of convolutions, points by softmax, regions that weigh alike.
"""

import pytest
import torch
from tests.unit.systems.generalist.small import TASKS, encoder, module, network

from transface.backbones.clip_vit import ClipViT
from transface.backbones.timm_encoder import TimmEncoder
from transface.backbones.weights.rebuild import build_backbone, config_of
from transface.data.batches import FaceBatch
from transface.data.labels.points import CanvasTargets
from transface.systems.generalist.decoder.interpreters import QueryValues, ValueInterpreter
from transface.systems.generalist.dense_views import DenseViews
from transface.systems.generalist.faceptor import Faceptor
from transface.systems.generalist.tasks import Task

PARTS = Task("parts", "parsing", 3, names=("background", "face", "hair"))


def test_own_values_are_a_linear_form_of_each_query() -> None:
    own = QueryValues({"one": 2, "two": 3}, 4).double()
    tokens = torch.randn(5, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        own.bias["two"].copy_(torch.tensor([0.5, -1.0, 2.0]))
        found = own(tokens, "two").tolist()
    weight, bias = own.weight["two"].tolist(), own.bias["two"].tolist()
    for image in range(5):
        for query in range(3):
            wanted = sum(x * w for x, w in zip(tokens[image, query].tolist(), weight[query], strict=True))
            assert found[image][query] == pytest.approx(wanted + bias[query])


def test_an_image_moves_shared_values_of_equal_tokens_alike_and_own_ones_apart() -> None:
    """Why expression did not learn: what reaches all queries alike is lost in the softmax over them."""
    torch.manual_seed(0)
    signal = torch.randn(6, 1, 8, dtype=torch.float64).expand(-1, 7, -1)
    shared, own = ValueInterpreter(8).double(), QueryValues({"mood": 7}, 8).double()
    assert float(shared(signal).softmax(-1).std(0).max().detach()) < 1e-12
    assert float(own(signal, "mood").softmax(-1).std(0).max().detach()) > 0.01


def test_a_network_with_own_values_answers_every_task_and_is_built_again() -> None:
    built = network(values="own").eval()
    again = build_backbone(config_of(built))
    again.load_state_dict(built.state_dict())
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        first, second = built(images), again.eval()(images)
    assert first._fields == ("embedding", "age", "smile", "mood")
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_further_layers_of_the_pixel_decoder_change_nothing_at_the_start_and_learn() -> None:
    torch.manual_seed(0)
    settings = {"width": 8, "num_heads": 2, "feedforward_width": 16, "num_layers": 1, "read_layers": [1]}
    plain = Faceptor(encoder(), [PARTS], **settings).eval()
    finer = Faceptor(encoder(), [PARTS], **settings, pixel_layers=[0]).eval()
    assert finer.load_state_dict(plain.state_dict(), strict=False).missing_keys == [
        "map.detail.norms.0.weight", "map.detail.norms.0.bias", "map.detail.finer.0.weight"
    ]  # fmt: skip
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(plain(images).parts, finer(images).parts)
    finer(images).parts.square().sum().backward()
    assert float(finer.map.detail.finer[0].weight.grad.abs().max()) > 0
    with torch.no_grad():
        finer.map.detail.finer[0].weight.add_(0.1 * torch.randn_like(finer.map.detail.finer[0].weight))
    assert not torch.equal(plain(images).parts, finer(images).parts)


def test_heat_maps_start_with_their_bias_and_other_maps_have_none() -> None:
    tasks = (PARTS, Task("points", "landmarks", 3))
    plain, dark = network(tasks).eval(), network(tasks, heat_bias=-4.0).eval()
    dark.load_state_dict(plain.state_dict() | {"heat_bias": torch.tensor(-4.0)})
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        first, second = (one.task_logits(one.encode(images), ["parts", "points"]) for one in (plain, dark))
    assert torch.equal(first["parts"], second["parts"])
    assert torch.allclose(first["points"] - 4.0, second["points"])
    assert network(heat_bias=-4.0).heat_bias is None


def test_points_by_softmax_are_the_mean_cell_and_survive_a_rebuild() -> None:
    built = network((PARTS, Task("points", "landmarks", 3)), points="softmax").eval()
    again = build_backbone(config_of(built))
    again.load_state_dict(built.state_dict())
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        maps = built.task_logits(built.encode(images), ["points"])["points"].double()
        found, second = built(images).points, again.eval()(images).points
    assert torch.equal(found, second)
    for image in range(2):
        for point in range(3):
            odds = maps[image, point].exp()
            odds = odds / odds.sum()
            cells = maps.shape[3]
            share = sum(float(odds[:, column].sum()) * (column + 0.5) / cells for column in range(cells))
            assert float(found[image, point, 0]) == pytest.approx(16 * share - 0.5, abs=1e-4)


def test_the_settings_of_dense_losses_reach_them() -> None:
    """From the module, by a batch of canvases: each setting changes the loss of its own task alone."""
    tasks = (PARTS, Task("points", "landmarks", 5))
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 24, 24), generator=draw, dtype=torch.uint8)
    facts = torch.zeros(2), torch.full((2,), 16), torch.ones(2)
    regions = (torch.rand(2, 24, 24, generator=draw) ** 4 * 3).to(torch.uint8)
    points = torch.rand(2, 5, 2, generator=draw) * 16 + 4
    batch = {
        "parts": FaceBatch(images, CanvasTargets(torch.zeros(2, 0, 2), regions, *facts), torch.arange(2)),
        "points": FaceBatch(images, CanvasTargets(points, torch.zeros(2, 0, 0), *facts), torch.arange(2)),
    }
    views = DenseViews(strength=0.0, light=False)

    def losses(reader: str = "sigmoid", **settings: float) -> list[float]:
        own = module(network(tasks, points=reader), dense=views, flip_probability=0.0, **settings).eval()
        found = own.losses(batch, torch.Generator()).terms
        return [float(found["parts"].detach()), float(found["points"].detach())]

    plain, balanced, sharp, sharper = (
        losses(),
        losses(region_balance=1.0),
        losses("softmax"),
        losses("softmax", heat_weight=2.0),
    )
    assert plain[1] == balanced[1]
    assert plain[0] == sharp[0] == sharper[0]
    assert plain[0] != balanced[0]
    assert len({plain[1], sharp[1], sharper[1]}) == 3
    with pytest.raises(ValueError, match=r"region_balance must be in 0\.\.1, got 2"):
        module(network(tasks), dense=views, region_balance=2)


def test_settings_that_nothing_reads_or_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layers \[7\] are read but the encoder gives"):
        network([*TASKS, PARTS], pixel_layers=[7])
    with pytest.raises(ValueError, match="no task is dense"):
        network(pixel_layers=[0])
    with pytest.raises(ValueError, match=r'network\.values must be "shared" or "own"'):
        network(values="mine")
    with pytest.raises(ValueError, match=r"network\.points must be sigmoid or softmax, got 'hard'"):
        network(points="hard")
    with pytest.raises(ValueError, match=r"network\.heat_bias=-4\.0: points=softmax does not see"):
        network(points="softmax", heat_bias=-4.0)


def test_a_stem_of_convolutions_makes_a_token_a_patch() -> None:
    settings = {"position_size": 32, "width": 16, "depth": 1, "num_heads": 2, "output_width": 8, "patch_size": 8}
    tower = ClipViT(image_size=32, **settings, stem_channels=[4, 8, 8])
    assert tower(torch.randn(2, 3, 32, 32)).tokens.shape == (2, 16, 16)
    assert tower(torch.randn(2, 3, 48, 32)).tokens.shape == (2, 24, 16)
    assert isinstance(ClipViT(image_size=32, **settings).conv1, torch.nn.Conv2d)
    with pytest.raises(ValueError, match="a stem of 2 convolutions makes patches of 4 pixels, and patch_size is 8"):
        ClipViT(image_size=32, **settings, stem_channels=[4, 8])


def test_layers_of_several_grids_are_refused_and_layers_in_any_order_are_those_named() -> None:
    stages = TimmEncoder("test_convnext", image_size=64, layers=[0, -1])
    with pytest.raises(ValueError, match=r"backbone\.layers \[0\] have 256 tokens of 24, the last has 4 of 64"):
        module(Faceptor(stages, TASKS, width=8, num_heads=2, num_layers=1, read_layers=[3]))
    torch.manual_seed(0)
    blocks = TimmEncoder("test_vit", image_size=48, layers=[5, 0]).eval()
    own = Faceptor(blocks, TASKS, width=8, num_heads=2, num_layers=1, read_layers=[5, 0]).eval()
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        wanted = blocks.model.forward_intermediates(images * blocks.factor + blocks.shift, norm=False, output_fmt="NLC")
        for layer, tokens in own.encode(images).tokens.items():
            torch.testing.assert_close(tokens, wanted[1][layer])
