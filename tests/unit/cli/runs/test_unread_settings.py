"""What a command line says and nothing reads is told; what an experiment says of a replaced part is left out."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from transface.cli.config.command_line import overrides_of
from transface.cli.config.compose import compose
from transface.cli.runs.unread_settings import leave_out_replaced_settings, unread_settings

FACTS = {"identity": {"kind": "identity"}, "age": {"kind": "age"}, "landmarks": {"kind": "landmarks"}}


def composed(*words: str) -> DictConfig:
    return DictConfig(OmegaConf.to_container(compose("train", overrides_of(list(words))), resolve=False))


def unread(*words: str, **facts: Any) -> dict[str, str]:
    cfg = composed(*words)
    for name, value in facts.items():
        OmegaConf.update(cfg, name.replace("__", "."), value, force_add=True)
    return unread_settings(cfg, words)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["validation.pair_sets=[a.bin]", "protocol.files=[b.bin]"], ["validation.pair_sets"]),
        (["protocol=ijbc", "protocol.root=x", "validation.pair_sets=[a.bin]"], ["validation.pair_sets"]),
        (["schedule.warmup_epochs=2", "schedule.warmup_steps=7"], ["schedule.warmup_epochs"]),
        (["plan_facts={num_images: 3}"], ["plan_facts"]),
        (["gradient_accumulation=2", "trainer.accumulate_grad_batches=4"], ["gradient_accumulation"]),
        (["validation.every_n_epochs=null", "protocol.files=[b.bin]"], ["protocol.files"]),
        (["callbacks.checkpoint=null", "checkpoint.keep=3"], ["checkpoint.keep"]),
        (["embedding_size=64", "margin.scale=32", "seed=3", "margin=cosface", "weighting=none", "name=x"], []),
        (["validation.every_n_epochs=null", "validation.before=true", "protocol.files=[b.bin]"], []),
    ],
)
def test_what_nothing_reads_beside_the_others_is_found(words: list[str], names: list[str]) -> None:
    assert list(unread("experiment=demo", *words)) == names


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["distillation.kappa=3"], ["distillation.kappa"]),
        (["distillation.kappa=3", "distillation.zone_weights=ladder"], []),
        (["distillation.beta=0", "distillation.temperature=4"], ["distillation.temperature"]),
        (["distillation.gamma=0", "distillation.token_loss=smooth_l1"], ["distillation.token_loss"]),
        (["backbone.zones=1", "distillation.alpha=.1"], ["distillation.alpha"]),
        (["backbone.zone_tokens=none", "backbone.zone_token_heads=2"], ["backbone.zone_token_heads"]),
    ],
)
def test_settings_of_distillation_that_teach_nobody_are_found(words: list[str], names: list[str]) -> None:
    assert list(unread("experiment=mzts/demo", *words)) == names


def test_settings_of_other_kinds_of_answers_and_tasks_are_found() -> None:
    age = {"system__network__network__outputs": {"age": {"kind": "number", "unit": "years"}}}
    words = ["experiment=occlusion/utkface", "data.root=x"]
    assert list(unread(*words, "system.label_smoothing=.1", **age)) == ["system.label_smoothing"]
    assert not unread(*words, "system.network.network.num_values=50", "epochs.teacher=3", **age)
    assert list(unread(*words, "trainer.max_epochs=2", "epochs.teacher=3")) == ["epochs.teacher"]
    rows = {"network__tasks": [FACTS["age"]]}
    words = ["experiment=faceptor/demo", "task=[age]"]
    assert list(unread(*words, "dense_batch_size=3", "batch_size=3")) == ["dense_batch_size"]
    assert list(unread(*words, "system.heat_weight=.5", **rows)) == ["system.heat_weight"]
    assert list(unread(*words, "system.identity_teacher_weight=2", **rows)) == ["system.identity_teacher_weight"]
    rows = {"network__tasks": [FACTS["landmarks"]]}
    assert not unread("experiment=faceptor/demo", "task=[landmarks]", "system.heat_weight=.5", **rows)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["experiment=faceptor/demo", "balance=uncertainty"], "balance.names"),
        (["experiment=faceptor/demo", "backbone=timm_encoder"], "backbone.stem_channels"),
    ],
)
def test_what_an_experiment_says_of_a_replaced_part_is_left_out_and_told(
    words: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = composed(*words)
    assert OmegaConf.select(cfg, name) is not None
    leave_out_replaced_settings(cfg, words)
    assert OmegaConf.select(cfg, name) is None
    assert name in capsys.readouterr().out
    cfg = composed(*words)
    leave_out_replaced_settings(cfg, [*words, f"{name}.x=1"])
    assert OmegaConf.select(cfg, name) is not None, "what the command line says is refused by who takes it"


def test_settings_that_the_option_in_place_takes_stay() -> None:
    words = ["experiment=demo", "margin=cosface", "optimizer=sgd", "backbone=iresnet18"]
    cfg = composed(*words)
    before = OmegaConf.to_yaml(cfg)
    leave_out_replaced_settings(cfg, words)
    assert OmegaConf.to_yaml(cfg) == before
    assert cfg.optimizer.weight_decay == 0.05, "the experiment's"


def test_a_setting_that_each_of_several_sets_has_of_its_own_is_found() -> None:
    words = ["data=several", "classifier=several_heads", "data.total_batch_size=9"]
    both = "data.sets={a: {root: x, total_batch_size: 4}, b: {root: y, total_batch_size: 4}}"
    assert list(unread(*words, both)) == ["data.total_batch_size"]
    assert not unread(*words, "data.sets={a: {root: x, total_batch_size: 4}, b: {root: y}}")
