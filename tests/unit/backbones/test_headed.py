"""One network, several named answers: each of its kind and shape, rebuilt from its config."""

import pytest
import torch

from transface.backbones.features import Output, as_output
from transface.backbones.headed import HeadedNetwork
from transface.backbones.timm_encoder import TimmEncoder
from transface.backbones.weights.rebuild import build_backbone, config_of

OUTPUTS = {
    "smiling": {"kind": "one_of", "names": ["no", "yes"]},
    "age": {"kind": "number", "unit": "years"},
    "traits": {"kind": "several_of", "names": ["hat", "glasses", "beard"]},
    "eyes": {"kind": "points", "names": ["left", "right"]},
}


def network() -> HeadedNetwork:
    return HeadedNetwork(TimmEncoder("test_vit", image_size=48), OUTPUTS)


def test_each_answer_has_the_shape_of_its_kind() -> None:
    answers = network().eval()(torch.zeros(3, 3, 48, 48))
    shapes = {name: tuple(getattr(answers, name).shape) for name in answers._fields}
    assert shapes == {"smiling": (3, 2), "age": (3,), "traits": (3, 3), "eyes": (3, 2, 2)}
    assert torch.allclose(answers.eyes, torch.full((3, 2, 2), 24.0), atol=12)


def test_it_is_built_again_from_its_config_with_the_same_outputs_and_keys() -> None:
    first = network()
    again = build_backbone(config_of(first))
    again.load_state_dict(first.state_dict())
    images = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(again.eval()(images), first.eval()(images), rtol=0, atol=0)
    assert again.outputs == first.outputs
    assert again.outputs["age"] == Output("number", (), "years")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"kind": "many"}, "kind is one of"),
        ({"kind": "one_of"}, "needs the names"),
        ({"kind": "number", "names": ["a"]}, "has no names"),
        ({"kind": "one_of", "labels": []}, "kind, names, unit, thresholds"),
        ({"kind": "several_of", "names": ["a", "b"], "thresholds": [0.5]}, "one a label"),
    ],
)
def test_an_output_that_cannot_be_is_refused(value: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        as_output(value)


def test_a_kind_that_needs_more_than_a_linear_head_is_refused() -> None:
    with pytest.raises(ValueError, match="needs more than a linear head"):
        HeadedNetwork(TimmEncoder("test_vit", image_size=48), {"hair": {"kind": "regions", "names": ["hair"]}})
