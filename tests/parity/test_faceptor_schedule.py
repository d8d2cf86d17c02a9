"""Parameter counts, learning rates, stochastic depth, loss weights and order of images against what the released code
says.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transface.backbones.clip_vit import ClipViT
from transface.systems.generalist.faceptor import Faceptor, NaiveFaceptor
from transface.systems.generalist.iteration_order import iteration_order
from transface.systems.generalist.released import our_key
from transface.systems.generalist.stages import start_second_stage, train_only
from transface.systems.generalist.tasks import BASE, FULL
from transface.training.optimization.released_schedules import FaceptorCosine
from transface.training.optimization.schedules import RunLength

NEW_LAYERS = (11, 1, 3, 5, 7, 9)


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "parity/faceptor/schedule_and_freeze.json").read_text(encoding="utf-8"))


def model(kind: str) -> Any:
    with torch.device("meta"):
        if kind == "naive":
            return NaiveFaceptor(ClipViT(layers=(3, 5, 7, 9, 11)), BASE)
        layers = NEW_LAYERS if kind.startswith("stage2") else (11,)
        return Faceptor(ClipViT(layers=layers), BASE if kind == "base" else FULL, read_layers=layers)


def count(part: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        ("base", 103_200_001),
        ("full", 103_335_681),
        ("naive", 178_911_058),
        *((f"stage2_{name}", 103_335_681 + 985_600) for name in ("rafdb", "morph2", "celeba")),
    ],
)
def test_parameter_counts_and_shapes_are_the_published_ones(
    recorded: dict[str, Any], kind: str, published: int
) -> None:
    own = model(kind)
    assert count(own) == published == recorded["models"][kind]["parameters"]["without_losses"]
    assert count(own.encoder) == recorded["models"][kind]["parameters"]["backbone"]
    shapes = own.state_dict()
    found = set()
    for key, shape in recorded["models"][kind]["state_dict_shapes"].items():
        ours = our_key(key)
        if ours is not None:
            assert int(np.prod(shape)) == shapes[ours].numel(), key
            found.add(ours)
    assert set(shapes) - found <= {"memory.layer_embedding"}


def test_the_second_stage_trains_what_the_released_one_trains(recorded: dict[str, Any]) -> None:
    own = model("stage2")
    num_trained = start_second_stage(own)
    trained = {name for name, parameter in own.named_parameters() if parameter.requires_grad}
    assert not own.encoder.training
    second_stages = [one for name, one in recorded["models"].items() if name.startswith("stage2")]
    assert second_stages
    for stage in second_stages:
        assert num_trained == stage["parameters"]["trainable"]
        released = {our_key(name) for name in stage["trainable_names"]} - {None}
        assert trained == released | {"memory.layer_embedding"}


def test_a_pattern_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="query_feat_task_type"):
        train_only(torch.nn.Linear(2, 2), ["weight", "query_feat_task_type"])


def test_learning_rates_of_every_recorded_update_are_the_released_ones(recorded: dict[str, Any]) -> None:
    for name, own in recorded["models"].items():
        factor = FaceptorCosine(warmup_steps=own["warmup_steps"]).factors(RunLength(own["max_iter"], 1))
        for update, rates in own["lr_in_force_during_update_step"].items():
            for part, rate in rates.items():
                peak = 5e-5 if part == "backbone" else 5e-4
                assert factor(int(update)) * peak == pytest.approx(rate, rel=1e-6, abs=1e-15), (name, update, part)


def test_stochastic_depth_grows_as_released(recorded: dict[str, Any]) -> None:
    blocks = model("base").encoder.transformer.resblocks
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    for own in recorded["models"].values():
        np.testing.assert_allclose(rates, own["drop_path_per_block"], rtol=1e-6)


def test_orders_are_the_recorded_ones_also_after_a_resume(recorded: dict[str, Any]) -> None:
    for name, own in recorded["sampler"].items():
        words = name.split("_")
        values = {words[index]: int(words[index + 1]) for index in range(0, len(words), 2)}
        order = iteration_order(
            values["dataset"],
            num_steps=values["steps"],
            batch_size=values["batch"],
            world_size=values["world"],
            rank=values["rank"],
            last_step=values["laststep"],
            seed=values["seed"],
        )
        assert order.tolist() == own["indices"]
