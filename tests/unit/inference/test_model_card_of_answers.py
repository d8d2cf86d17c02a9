"""The card of a model that answers questions: its outputs by name, and what each of them is not."""

from typing import Any

from transface.inference.model_card import TASK_LIMITS, model_card


def card_of(outputs: dict[str, dict[str, Any]]) -> str:
    config = {"image_size": [112, 112], "backbone": {"_target_": "transface.backbones.x.Network"}, "outputs": outputs}
    return model_card(config, {}, name="mine")


def test_every_task_says_its_own_limits_and_no_other_s() -> None:
    kinds = {
        "age": {"kind": "number", "unit": "years"},
        "gender": {"kind": "one_of", "names": ["male", "female"]},
        "expression": {"kind": "one_of", "names": ["neutral", "happiness"]},
    }
    for name, output in kinds.items():
        card = card_of({name: output})
        assert TASK_LIMITS[name] in card
        assert not [other for other in kinds if other != name and TASK_LIMITS[other] in card]
        assert f"- face-{name}" in card
        assert "face-verification" not in card
        assert "pipeline_tag: image-classification" in card


def test_judgements_among_the_labels_are_named_and_facts_are_not() -> None:
    card = card_of({"attributes": {"kind": "several_of", "names": ["Smiling", "Attractive", "Young"]}})
    assert "not facts of a picture: Attractive, Young." in card
    plain = card_of({"attributes": {"kind": "several_of", "names": ["Smiling", "Eyeglasses"]}})
    assert "not facts of a picture" not in plain


def test_a_recogniser_keeps_its_own_tags() -> None:
    config = {"image_size": [112, 112], "embedding_size": 8, "backbone": {"_target_": "x.Y"}, "outputs": {}}
    card = model_card(config, {})
    assert "- face-verification" in card
    assert "pipeline_tag: image-feature-extraction" in card
