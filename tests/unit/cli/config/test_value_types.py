from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from transface.cli.config.compose import compose, conf_folder
from transface.cli.config.errors import UserError
from transface.cli.config.value_types import kinds_of, parameter_kinds, refuse_wrong_kinds


@pytest.mark.parametrize(
    ("hint", "kinds"),
    [
        (int, {int}),
        (bool | None, {bool, type(None)}),
        (Sequence[str | Path], {list}),
        (tuple[float, float] | float, {list, float}),
        (str, set()),
        (str | int, set()),
        (Literal["a"], set()),
        (Any, set()),
    ],
)
def test_kinds_of_an_annotation(hint: Any, kinds: set[Any]) -> None:
    assert kinds_of(hint) == kinds


def test_parameters_of_an_optimizer_are_those_of_its_base_too() -> None:
    kinds = parameter_kinds("transface.training.optimization.optimizers.AdamW")
    assert (kinds["lr"], kinds["betas"], kinds["weight_decay"]) == ({float}, {list}, {float})


def test_settings_handed_on_to_lightning_are_known() -> None:
    kinds = parameter_kinds("transface.training.trainer.make_trainer")
    assert kinds["compile"] == {bool}
    assert int in kinds["max_epochs"]


def test_a_target_that_is_not_there_is_left_to_who_builds_it() -> None:
    assert parameter_kinds("transface.nothing.Here") == {}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("scale", "abc", "margin.scale must be a number, got 'abc'"),
        ("scale", True, "margin.scale must be a number, got True"),
        ("filter_threshold", [1], r"margin.filter_threshold must be a number or null, got \[1\]"),
    ],
)
def test_a_wrong_kind_is_named(name: str, value: Any, said: str) -> None:
    margin = {"_target_": "transface.margins.cosface.CosFace", name: value}
    with pytest.raises(UserError, match=said):
        refuse_wrong_kinds(OmegaConf.create({"margin": margin}))


@pytest.mark.parametrize("value", [32, 32.5, None, "${other}", "???"])
def test_what_may_pass(value: Any) -> None:
    refuse_wrong_kinds(
        OmegaConf.create({"other": 3, "margin": {"_target_": "transface.margins.cosface.CosFace", "scale": value}})
    )


def without_references(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: without_references(value) for name, value in node.items()}
    return None if isinstance(node, str) and node.startswith("${") else node


@pytest.mark.parametrize(
    "path", sorted(conf_folder().glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}={path.stem}"
)
def test_every_setting_of_ours_is_of_the_kind_its_part_states(path: Path) -> None:
    refuse_wrong_kinds(OmegaConf.create(without_references(OmegaConf.to_container(OmegaConf.load(path)))))


def test_the_demo_takes_any_margin() -> None:
    for name in ("arcface", "magface"):
        assert (
            compose("train", ["experiment=demo", f"margin={name}"]).margin
            == compose("train", [f"margin={name}"]).margin
        )
    demo = compose("train", ["experiment=demo"]).margin
    assert (demo.scale, demo.margin) == (32.0, 0.2)
