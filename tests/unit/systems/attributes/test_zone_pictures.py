"""Where zones look and what exits reach: equal to the encoder's own attention and the exits' own answers."""

import numpy as np
import pytest
import torch

from transface.systems.attributes.attribute_network import AttributeNetwork
from transface.systems.attributes.multi_zone_encoder import MultiZoneEncoder
from transface.systems.attributes.zone_pictures import (
    exits_figure,
    exits_of,
    looks_figure,
    zone_logits,
    zone_looks,
)
from transface.training.flops import forward_flops

SETTINGS = {"embed_dim": 16, "depth": 4, "num_heads": 2, "patch_size": 8}


def network_of(predict: str = "last") -> AttributeNetwork:
    torch.manual_seed(0)
    encoder = MultiZoneEncoder(
        "vit_tiny_patch16_224", zones=4, image_size=(32, 24), input_size=(32, 24), model_settings=SETTINGS
    )
    return AttributeNetwork(encoder, ("a", "b", "c"), predict=predict).double().train()


@pytest.fixture
def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (count, 3, 32, 24), generator=generator).to(torch.uint8) for count in (3, 2)]


def test_the_mean_face_and_the_looks_are_means_over_all_images_whatever_the_batches(
    batches: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transface.systems.attributes.zone_pictures.normalise", lambda x: x.double() / 127.5 - 1)
    network = network_of()
    looks = zone_looks(network, batches)
    together = zone_looks(network, [torch.cat(batches)])
    torch.testing.assert_close(looks, together)
    assert tuple(looks.attention.shape) == (4, 12)
    torch.testing.assert_close(looks.attention.sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(looks.face, torch.cat(batches).double().mean(0))
    assert network.training, "modes are given back"


def test_every_exit_has_the_accuracy_of_its_own_logits_and_deeper_ones_cost_more(
    batches: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of().float()
    logits = zone_logits(network, batches)
    assert logits.shape == (5, 4, 3)
    images = torch.cat(batches)
    for zone in range(4):
        own = network_of(f"exit_{zone + 1}").float().eval()
        own.load_state_dict(network.state_dict())
        with torch.no_grad():
            expected = own(images.float() / 127.5 - 1).attributes
        np.testing.assert_allclose(logits[:, zone], expected.numpy(), atol=1e-5)
    values = np.array([[0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 1], [1, 0, 1]])
    known = np.ones_like(values, dtype=bool)
    known[0, 0] = False
    exits = exits_of(network, logits, values, known, subjects=np.array([0, 0, 1, 1, 2]))
    for found in exits:
        right = ((logits[:, found.zone - 1] >= 0) == values) & known
        assert found.accuracy == pytest.approx(np.mean(right.sum(0) / known.sum(0)))
    costs = [found.operations for found in exits]
    assert costs == sorted(costs)
    assert len(set(costs)) == 4
    network.eval()
    whole = forward_flops(network, torch.zeros(1, 3, 32, 24))
    assert costs[-1] == whole


def test_figures_have_a_map_a_zone_and_no_images_are_refused(batches: list[torch.Tensor]) -> None:
    network = network_of().float()
    figure = looks_figure(zone_looks(network, batches), network.encoder.grid_size)
    assert [ax.get_title() for ax in figure.axes] == ["mean face", "zone 1", "zone 2", "zone 3", "zone 4"]
    values = np.ones((5, 3), dtype=int)
    exits = exits_of(network, zone_logits(network, batches), values, values.astype(bool))
    assert exits_figure(exits, split="val").axes
    with pytest.raises(ValueError, match="at least one image"):
        zone_looks(network, [])
