import pytest
import torch

from transface.backbones.weights.rebuild import build_backbone, config_of
from transface.systems.attributes.attribute_network import AttributeNetwork
from transface.systems.attributes.multi_zone_encoder import MultiZoneEncoder

TINY = {"embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 16}


def network_of(predict: str = "last") -> AttributeNetwork:
    torch.manual_seed(0)
    encoder = MultiZoneEncoder("vit_tiny_patch16_224", zones=4, image_size=64, model_settings=TINY)
    return AttributeNetwork(encoder, ["Bald", "Smiling"], predict=predict).eval()


@pytest.mark.parametrize("predict", ["last", "exit_2", "mean"])
def test_a_stripped_network_answers_the_same_without_the_other_heads(predict: str) -> None:
    network, images = network_of(predict), torch.rand(2, 3, 64, 64)
    before = network(images).attributes
    stripped = network.strip_for_inference()
    assert torch.equal(stripped(images).attributes, before)
    assert len(stripped.heads) == (4 if predict == "mean" else 1)
    rebuilt = build_backbone(config_of(stripped)).eval()
    rebuilt.load_state_dict(stripped.state_dict())
    assert torch.equal(rebuilt(images).attributes, before)
    with pytest.raises(ValueError, match="stripped"):
        stripped.zones(images)


def test_every_exit_answers_what_that_zone_says() -> None:
    images = torch.rand(2, 3, 64, 64)
    zones = network_of().zones(images).logits
    for zone in (1, 2, 3, 4):
        torch.testing.assert_close(
            network_of(f"exit_{zone}")(images).attributes, zones[:, zone - 1], rtol=1e-4, atol=1e-5
        )


def test_thresholds_go_with_the_network_into_what_rebuilds_it() -> None:
    network = network_of()
    network.set_thresholds([0.3, 0.6])
    rebuilt = build_backbone(config_of(network))
    assert isinstance(rebuilt, AttributeNetwork)
    assert rebuilt.outputs["attributes"].thresholds == (0.3, 0.6)
    assert rebuilt.outputs["attributes"].names == ("Bald", "Smiling")


def test_thresholds_of_one_zone_are_not_used_at_another(caplog: pytest.LogCaptureFixture) -> None:
    network = network_of()
    network.set_thresholds([0.3, 0.6])
    assert network.exit_at(4).outputs["attributes"].thresholds == (0.3, 0.6), "the zone that answered before"
    assert not caplog.records
    assert network.exit_at(2).outputs["attributes"].thresholds == ()
    assert "at zone 2 an attribute counts as given from 0.5 on" in caplog.text
    assert config_of(network)["thresholds"] is None


def test_other_words_names_and_thresholds_are_refused() -> None:
    for predict in ("first", "exit_5", "exit_"):
        with pytest.raises(ValueError, match="predict must be"):
            network_of(predict)
    with pytest.raises(ValueError, match="thresholds are one a label"):
        network_of().set_thresholds([0.5])
