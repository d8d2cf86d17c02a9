"""Trials are found below a folder and told apart by what was swept, however the sweep left it."""

from pathlib import Path

import pytest
import yaml

from transface.reports.reading.trials import as_value, flattened, overrides_of, read_trials, split_commas, swept_keys


def write_trial(folder: Path, config: dict, overrides: list[str] | None = None) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if overrides is not None:
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
        (folder / ".hydra" / "config.yaml").write_text("{}")


def test_overrides_of_hydra_say_what_was_swept(tmp_path: Path) -> None:
    for number, k in enumerate((15, 7)):
        config = {
            "seed": 0,
            "perturbation": {"num_patches": k},
            "system": {"perturbation": {"num_patches": k}},
            "name": f"t{k}",
        }
        write_trial(tmp_path / str(number), config, [f"perturbation.num_patches={k}", "experiment=demo", f"name=t{k}"])
    trials = read_trials(tmp_path)
    assert [dict(trial.settings) for trial in trials] == [
        {"perturbation.num_patches": 7},
        {"perturbation.num_patches": 15},
    ]
    assert trials[0].name == "perturbation.num_patches=7"


def test_without_hydra_the_configs_say_it_once(tmp_path: Path) -> None:
    for m in (0.5, 0.4):
        paths = {"run": f"runs/{m}"}
        write_trial(
            tmp_path / f"t{m}",
            {"system": {"margin": {"m": m}}, "margin": {"m": m}, "paths": paths, "checkpoint": {"folder": str(m)}},
        )
    assert [dict(trial.settings) for trial in read_trials(tmp_path)] == [{"margin.m": 0.4}, {"margin.m": 0.5}]


def test_folder_names_say_it_too(tmp_path: Path) -> None:
    write_trial(tmp_path / "a=1,b=x,seed=3", {"seed": 3})
    write_trial(tmp_path / "a=2,b=x,seed=3", {"seed": 3})
    trials = read_trials(tmp_path)
    assert [dict(trial.settings) for trial in trials] == [{"a": 1}, {"a": 2}]
    assert [trial.seed for trial in trials] == [3, 3]


def test_the_seed_is_no_setting(tmp_path: Path) -> None:
    for seed in (1, 0):
        write_trial(tmp_path / str(seed), {"seed": seed, "system": {"seed": seed}}, [f"seed={seed}"])
    assert [(dict(trial.settings), trial.seed) for trial in read_trials(tmp_path)] == [({}, 0), ({}, 1)]


def test_words_stand_in_the_order_the_sweep_listed_them(tmp_path: Path) -> None:
    for word in ("none", "ehsm", "released"):
        write_trial(tmp_path / word, {"seed": 0}, [f"weighting={word}"])
    assert [t.settings["weighting"] for t in read_trials(tmp_path)] == ["ehsm", "none", "released"]
    multirun = {"hydra": {"overrides": {"task": ["weighting=none,released,ehsm"]}}}
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump(multirun))
    assert [t.settings["weighting"] for t in read_trials(tmp_path)] == ["none", "released", "ehsm"]


def test_the_order_of_a_named_sweep_is_that_of_its_config(tmp_path: Path) -> None:
    for word in ("gate", "plain", "dpap"):
        write_trial(tmp_path / word, {"seed": 0}, [f"variant={word}"])
    (tmp_path / "multirun.yaml").write_text(
        yaml.safe_dump({"hydra": {"sweeper": {"params": {"variant": "plain,gate,dpap", "seed": "0,1"}}}})
    )
    assert [t.settings["variant"] for t in read_trials(tmp_path)] == ["plain", "gate", "dpap"]


def test_a_trial_that_has_not_ended_has_measured_nothing(tmp_path: Path, make_run, make_result) -> None:
    for number in (0, 1):
        folder = make_run(tmp_path / f"trial-{number}", [make_result(thumbnails=False)], config={"seed": 0})
        (folder / "trial.json").write_text(f'{{"overrides": ["margin.margin=0.{number + 1}"], "config": {{}}}}')
    (tmp_path / "trial-0" / "finished.json").write_text('{"monitor": "val/mean/accuracy", "value": 0.9}')
    ended, begun = read_trials(tmp_path)
    assert (dict(ended.settings), dict(begun.settings)) == ({"margin.margin": 0.1}, {"margin.margin": 0.2})
    assert ended.run.results
    assert ended.run.traces
    assert not begun.run.results
    assert not begun.run.traces


def test_a_setting_only_some_trials_were_given_is_default_elsewhere(tmp_path: Path) -> None:
    write_trial(tmp_path / "a", {"seed": 0}, ["+extra=2"])
    write_trial(tmp_path / "b", {"seed": 0}, [])
    assert {t.settings["extra"] for t in read_trials(tmp_path)} == {2, "default"}


def test_earlier_runs_and_hydra_folders_are_no_trials(tmp_path: Path) -> None:
    write_trial(tmp_path / "a", {"seed": 0}, ["x=1"])
    write_trial(tmp_path / "a" / "previous" / "1", {"seed": 0})
    assert len(read_trials(tmp_path)) == 1


def test_a_single_run_is_a_sweep_of_one(tmp_path: Path) -> None:
    write_trial(tmp_path / "run", {"seed": 0})
    (trial,) = read_trials(tmp_path / "run")
    assert trial.name == "run"


def test_a_folder_without_trials_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no trial in"):
        read_trials(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_trials(tmp_path / "absent")


def test_configs_are_flattened_and_lists_stay_whole() -> None:
    assert flattened({"a": {"b": 1, "c": None}, "d": [1, 2], "e": True}) == {
        "a.b": 1,
        "a.c": "none",
        "d": "[1, 2]",
        "e": "True",
    }
    assert swept_keys([{}, {}], [{"a.b": 1, "x": 1}, {"a.b": 2, "x": 1}]) == ["a.b"]


def test_overrides_in_folder_names_may_hold_lists(tmp_path: Path) -> None:
    assert split_commas("a=[1,2],b=3") == ["a=[1,2]", "b=3"]
    (tmp_path / "a=[1,2],b=3").mkdir()
    assert overrides_of(tmp_path / "a=[1,2],b=3", tmp_path) == {"a": "[1,2]", "b": "3"}
    assert [as_value(text) for text in ("7", "1e-3", "word")] == [7, 0.001, "word"]
