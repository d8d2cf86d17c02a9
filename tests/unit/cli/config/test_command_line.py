"""What Hydra is handed: flags first, groups without their plus, sweeps in folders of their own, absent plugins
named.
"""

from pathlib import Path

import pytest

from transface.cli.config import command_line
from transface.cli.config.command_line import constant_keys, hydra_words
from transface.cli.config.compose import conf_folder
from transface.cli.config.errors import UserError


def words(*argv: str) -> list[str]:
    return hydra_words(list(argv), conf_folder())[:-1]


def test_flags_come_first_wherever_they_stand() -> None:
    assert words("seed=1", "-m", "name=a", "--cfg", "job") == ["-m", "--cfg", "job", "seed=1", "name=a"]


def test_a_plus_before_a_group_of_train_yaml_is_dropped_and_no_other() -> None:
    assert words("+experiment=demo", "+debug=nan", "+backbone.depth=1", "+other=1") == [
        "experiment=demo",
        "debug='nan'",
        "+backbone.depth=1",
        "+other=1",
    ]


def test_a_list_of_options_goes_where_parts_stand_side_by_side() -> None:
    given = [
        "augmentation=[blur,mixup]",
        "callbacks=[default,method]",
        "logger=[csv,tensorboard]",
        "protocol.files=[a.bin]",
    ]
    assert words(*given) == given
    with pytest.raises(UserError, match=r"protocol takes one of its options, got \[pair_sets,ijbc\]"):
        words("protocol=[pair_sets,ijbc]")


def test_null_leaves_a_part_out_as_none_does() -> None:
    assert words("perturbation=null", "weighting=null", "time_budget=null") == [
        "perturbation=none",
        "weighting=none",
        "time_budget=null",
    ]


def test_a_trial_s_folder_needs_no_quotes() -> None:
    given = [
        "checkpoint=runs/x/seed=0,variant=transface/gate",
        "a='b=c'",
        "b=[c=d]",
        "seed=range(start=0,stop=2)",
        "c={d: e=f}",
        "name=it's=1",
    ]
    assert words(*given) == [
        "checkpoint='runs/x/seed=0,variant=transface/gate'",
        given[1],
        "b=['c=d']",
        *given[3:5],
        "name='it\\'s=1'",
    ]


def test_paths_and_names_in_any_letters_need_no_quotes() -> None:
    assert words("protocol.files=[/人/a.bin,b.bin,c=d/e.bin]", "x=[[ä]]") == [
        "protocol.files=['/人/a.bin',b.bin,'c=d/e.bin']",
        "x=[[ä]]",
    ]
    given = ["data.root=/data/人脸", "name=größe", "name=größe,#2,b,1", "a=it's", "seed=0,,1"]
    given.append("protocol.files=['ä']")
    assert words(*given) == [
        "data.root='/data/人脸'",
        "name='größe'",
        "name='größe','#2',b,1",
        "a='it\\'s'",
        "seed=0,,1",
        "protocol.files=['ä']",
    ]


def test_a_verb_without_such_groups_keeps_its_words(tmp_path: Path) -> None:
    assert hydra_words(["+sweep=a"], tmp_path)[0] == "+sweep=a"


def test_a_named_sweep_gets_its_own_folder_unless_one_is_named() -> None:
    assert words("sweep=transface/margin")[-1] == "hydra.sweep.dir='${paths.runs}/${name}_margin'"
    assert words("sweep=transface/margin", "name=mine") == ["sweep=transface/margin", "name=mine"]
    assert words("sweep=transface/margin", "hydra.sweep.dir=x") == ["sweep=transface/margin", "hydra.sweep.dir=x"]


def test_only_constants_stay_out_of_the_names_of_trials() -> None:
    given = [
        "seed=0,1",
        "data.root=a/b",
        "margin=arcface,cosface",
        "optimizer.lr=choice(1,2)",
        "+a=1",
        "hydra.sweep.dir=x",
        "broken",
    ]
    assert constant_keys(given) == ["data.root", "a"]
    last = hydra_words(["seed=0,1", "data.root=a/b", "protocol.files=[a,b]"], conf_folder())[-1]
    assert last == "hydra.job.config.override_dirname.exclude_keys=['data.root','protocol.files']"


@pytest.mark.parametrize(
    "word", ["sweep=optuna", "hydra/sweeper=optuna", "hydra/launcher=slurm", "hydra/launcher=submitit_slurm"]
)
def test_an_absent_plugin_is_named(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "_is_absent", lambda module: True)
    with pytest.raises(UserError, match=r"pip install 'transface\[cluster\]'"):
        words(word)
    assert words("sweep=transface/margin", "hydra/launcher=basic")


@pytest.mark.parametrize("argv", [["runs/demo"], ["seed=1", "foo"]])
def test_a_word_that_is_no_setting_is_named(argv: list[str]) -> None:
    with pytest.raises(UserError, match=f"expected key=value, got '{argv[-1]}'"):
        words(*argv)
    assert "~callbacks.validation" in words("~callbacks.validation", "--cfg", "job")


@pytest.mark.parametrize("group", ["protocol", "margin", "schedule", "backbone"])
def test_null_for_a_part_that_cannot_be_left_out_names_its_options(group: str) -> None:
    with pytest.raises(UserError, match=f"{group}=null: one of its options is needed, "):
        words(f"{group}=null")
