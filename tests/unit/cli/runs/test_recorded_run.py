"""run=DIR: the recorded config comes back, goes where it was or to another name, and still follows the seed."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from transface.cli import train as verb
from transface.cli.config.compose import plain
from transface.cli.config.errors import Carried, UserError
from transface.cli.runs.recorded_run import following, repeat_of
from transface.cli.runs.run_folder import checkpoint_of, prepare_folder, record_run

Start = Callable[..., dict[str, Any]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Run `transface train` with words up to where it would build things; return the resolved config."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces").mkdir()
    monkeypatch.setattr(sys, "argv", ["transface"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    seen: list[dict[str, Any]] = []

    def train(cfg: DictConfig) -> float:
        folder = Path(cfg.paths.run)
        prepare_folder(folder, checkpoint_of(folder, resume=cfg.resume))
        record_run(folder, plain(cfg), composed=verb.editable(cfg))
        seen.append(plain(cfg))
        return 0.5

    monkeypatch.setattr(verb, "train", train)

    def run(*words: str) -> dict[str, Any]:
        assert verb.main(list(words)) == 0
        return seen[-1]

    return run


def without_place(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in config.items() if key not in ("name", "paths", "logger", "checkpoint", "callbacks")
    }


def test_a_repeat_has_the_same_config_in_the_same_place(start: Start) -> None:
    first = start(
        "experiment=transface/vit_t_pack", "data.root=faces", "seed=5", "optimizer.lr=0.25", "variant=transface/gate"
    )
    assert start("run=runs/transface_vit_t_pack") == first
    assert Path("runs/transface_vit_t_pack/previous/1/config.yaml").is_file()


def test_a_repeat_under_another_name_changes_where_and_nothing_else(start: Start) -> None:
    first = start("data.root=faces", "name=one")
    again = start("run=runs/one", "name=two")
    assert again["checkpoint"]["folder"] == "runs/two/checkpoints"
    assert again["paths"]["run"] == "runs/two"
    assert without_place(again) == without_place(first)
    assert not Path("runs/one/previous").exists()


def test_a_changed_seed_reaches_all_that_follows_it(start: Start) -> None:
    start("data.root=faces", "name=one")
    again = start("run=runs/one", "name=two", "seed=7")
    assert (again["seed"], again["data"]["seed"], again["system"]["seed"]) == (7, 7, 7)


def test_a_run_that_was_moved_is_repeated_where_it_now_lies(start: Start) -> None:
    start("data.root=faces", "name=one")
    Path("runs/one").rename("elsewhere")
    assert start("run=elsewhere")["checkpoint"]["folder"] == "elsewhere/checkpoints"
    Path("elsewhere/composed.yaml").unlink()
    assert start("run=elsewhere")["checkpoint"]["folder"] == "elsewhere/checkpoints"


def test_a_resolved_config_alone_can_be_repeated_but_not_changed(start: Start) -> None:
    first = start("data.root=faces", "name=one")
    Path("runs/one/composed.yaml").unlink()
    with pytest.raises(UserError, match="no setting follows another"):
        start("run=runs/one", "seed=3")
    again = start("run=runs/one", "name=two")
    assert again["checkpoint"]["folder"] == "runs/two/checkpoints"
    assert without_place(again) == without_place(first)


def test_a_resumed_run_is_repeated_from_its_beginning(start: Start) -> None:
    start("data.root=faces", "name=one", "resume=auto")
    assert start("run=runs/one", "name=two")["resume"] is False


def test_a_trial_of_a_sweep_can_be_repeated(start: Start) -> None:
    start("-m", "data.root=faces", "name=grid", "seed=0,3")
    again = start("run=runs/grid/seed=3", "name=alone")
    assert (again["seed"], again["paths"]["run"]) == (3, "runs/alone")


def test_a_folder_with_quotes_in_its_name_works(start: Start) -> None:
    start("data.root=faces", "name=one")
    Path("runs/one").rename("it's mine")
    assert start("run=it's mine")["paths"]["run"] == "it's mine"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run=nowhere"], "no config.yaml in nowhere"),
        (["run=nowhere", "-m"], "leave out -m"),
        (["run=nowhere", "margin=arcface"], "change margin by its keys (margin.KEY=VALUE)"),
    ],
)
def test_what_cannot_be_repeated_is_refused(argv: list[str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        repeat_of(argv)


def test_a_misspelt_key_of_a_repeat_is_refused(start: Start) -> None:
    start("data.root=faces", "name=one")
    with pytest.raises(Exception, match="optimiser") as raised:
        start("run=runs/one", "optimiser.lr=1")
    assert not isinstance(raised.value, Carried)


def test_paths_below_the_run_follow_it_again() -> None:
    config = {"a": "runs/x", "b": ["runs/x/c", "runs/xy", 3], "d": {"e": "other"}}
    assert following(config, "runs/x") == {
        "a": "${paths.run}",
        "b": ["${paths.run}/c", "runs/xy", 3],
        "d": {"e": "other"},
    }


def test_no_run_named_is_no_repeat() -> None:
    assert repeat_of(["experiment=demo"]) is None
