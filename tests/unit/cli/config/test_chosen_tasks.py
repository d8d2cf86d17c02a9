"""task=[...] takes some tasks of an experiment: what it says of the others goes, and what the user says is heeded."""

from typing import Any

import pytest

from transface.cli.config.chosen_tasks import leave_out_unchosen_tasks, refuse_repeated_tasks
from transface.cli.config.compose import compose, config_folders
from transface.cli.config.errors import UserError


def chosen(*words: str) -> Any:
    cfg = compose("train", list(words))
    leave_out_unchosen_tasks(cfg, words, config_folders())
    return cfg


@pytest.mark.parametrize("experiment", ["demo", "real", "small"])
def test_an_experiment_of_many_tasks_is_one_of_fewer(experiment: str) -> None:
    cfg = chosen(
        f"experiment=faceptor/{experiment}", "task=[age]", "+age.root=AGE" if experiment == "real" else "age.root=AGE"
    )
    assert not {"identity", "attributes", "expression", "landmarks", "parsing", "gender"} & set(cfg)
    assert set(cfg.balance.names or {}) <= {"age"}
    assert cfg.classifier is None
    assert cfg.age.root == "AGE"


@pytest.mark.parametrize("experiment", ["demo", "real"])
@pytest.mark.parametrize("task", ["identity", "attributes", "age", "expression", "landmarks", "parsing"])
def test_layers_for_points_and_regions_go_with_their_tasks(experiment: str, task: str) -> None:
    words = [f"experiment=faceptor/{experiment}", f"task=[{task}]"]
    dense = task in ("landmarks", "parsing")
    assert list(chosen(*words).network.get("pixel_layers", ())) == ([0] if dense else [])
    if not dense:
        with pytest.raises(UserError, match=r"network\.pixel_layers=\[1\]: only tasks of parsing and landmarks read"):
            chosen(*words, "network.pixel_layers=[1]")


def test_an_experiment_with_all_its_tasks_stays_as_it_is() -> None:
    before, after = compose("train", ["experiment=faceptor/demo"]), chosen("experiment=faceptor/demo")
    assert before == after
    recognition = compose("train", ["experiment=demo"])
    leave_out_unchosen_tasks(recognition, [], config_folders())
    assert recognition == compose("train", ["experiment=demo"])


def test_what_the_command_line_says_of_a_task_that_is_not_there_stays_to_be_refused() -> None:
    assert chosen("experiment=faceptor/demo", "task=[age]", "parsing.root=x").parsing.root == "x"
    for word in ("balance.names.parsing=2", "balance.names={age:1,parsing:2}"):
        with pytest.raises(UserError, match=r"balance\.names.*: parsing is none of the tasks age"):
            chosen("experiment=faceptor/demo", "task=[age]", word)
    with pytest.raises(UserError, match="classifier=partial_fc: only tasks of identity have a classifier"):
        chosen("experiment=faceptor/demo", "task=[age]", "classifier=partial_fc")


@pytest.mark.parametrize("word", ["task=[age,age]", "task=[age, identity, age]", "+task=['age',age]"])
def test_a_task_that_is_named_twice_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="age is there 2 times; a task is named once"):
        refuse_repeated_tasks(["seed=1", word])
    refuse_repeated_tasks(["task=[age,gender]", "task=age", "task=[]", "experiment=faceptor/demo"])
