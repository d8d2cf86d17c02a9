"""Searches without training: what Optuna proposes, what its study keeps, and what a second start does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.cli.runs.sweeping import Stopped, Sweep

from transface.cli.config.errors import UserError
from transface.cli.config.optuna_sweeper import JOURNAL, open_study

OPTUNA = ("sweep=optuna", "name=search", "hydra.sweeper.n_trials=5")


def trials(folder: Path) -> list[dict[str, Any]]:
    """Return what the study of a search holds of each trial, in order."""
    study = open_study(folder / JOURNAL, "maximize")
    return [{"value": trial.value, "params": trial.params, "state": trial.state.name} for trial in study.trials]


def test_a_stopped_search_proposes_what_it_would_have_proposed(sweep: Sweep) -> None:
    pytest.importorskip("optuna")
    whole = sweep(*OPTUNA, "paths.runs=whole")
    assert whole == [f"search/trial-{number}" for number in range(5)]
    with pytest.raises(Stopped):
        sweep(*OPTUNA, stop_after=3)
    assert [trial["state"] for trial in trials(Path("runs/search"))] == ["COMPLETE"] * 3 + ["RUNNING"]
    assert sweep(*OPTUNA) == [f"search/trial-{number}" for number in (3, 4)]
    assert sweep(*OPTUNA) == []
    assert trials(Path("runs/search")) == trials(Path("whole/search"))
    assert len({json.dumps(trial["params"]) for trial in trials(Path("runs/search"))}) == 5


def test_a_larger_search_adds_to_the_trials_there_are(sweep: Sweep) -> None:
    pytest.importorskip("optuna")
    sweep(*OPTUNA)
    assert sweep(*OPTUNA, "hydra.sweeper.n_trials=7") == [f"search/trial-{number}" for number in (5, 6)]


def test_a_batch_cut_off_half_way_runs_its_finished_trials_once(sweep: Sweep) -> None:
    pytest.importorskip("optuna")
    words = (*OPTUNA, "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=4")
    with pytest.raises(Stopped):
        sweep(*words, stop_after=3)
    assert len(trials(Path("runs/search"))) == 4
    assert sweep(*words) == ["search/trial-3"]
    best = yaml.safe_load(Path("runs/search/optimization_results.yaml").read_text())
    values = [trial["value"] for trial in trials(Path("runs/search"))]
    assert len(values) == 4
    assert best["best_value"] == max(values) == values[best["best_trial"]]


def test_a_search_may_be_kept_in_a_database(sweep: Sweep) -> None:
    pytest.importorskip("optuna")
    words = (*OPTUNA, "hydra.sweeper.storage=sqlite:///search.db")
    with pytest.raises(Stopped):
        sweep(*words, stop_after=2)
    assert sweep(*words) == [f"search/trial-{number}" for number in (2, 3, 4)]
    assert Path("search.db").is_file()
    assert not Path("runs/search", JOURNAL).exists()


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "nsgaii", "qmc", "gp", "grid"])
def test_every_sampler_searches_and_resumes(sweep: Sweep, sampler: str) -> None:
    pytest.importorskip("optuna")
    words = (
        "-m",
        "name=search",
        "hydra/sweeper=optuna",
        f"hydra/sweeper/sampler={sampler}",
        "perturbation.num_patches=choice(1,3)" if sampler == "grid" else "perturbation.num_patches=range(1,9)",
        "optimizer.lr=choice(0.25,0.5)" if sampler == "grid" else "optimizer.lr=interval(0.1,0.2)",
    )
    with pytest.raises(Stopped):
        sweep(*words, "hydra.sweeper.n_trials=3", stop_after=1)
    assert len(sweep(*words, "hydra.sweeper.n_trials=3")) == 2
    assert [trial["state"] for trial in trials(Path("runs/search"))] == ["COMPLETE"] * 3


def test_a_grid_ends_when_each_combination_was_tried(sweep: Sweep) -> None:
    pytest.importorskip("optuna")
    words = ("-m", "name=search", "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=20")
    sweep(*words, "perturbation.num_patches=range(1,7,step=3)", "optimizer.lr=choice(0.25,0.5)")
    tried = {
        (trial["params"]["perturbation.num_patches"], trial["params"]["optimizer.lr"])
        for trial in trials(Path("runs/search"))
    }
    assert tried == {(k, lr) for k in (1, 4, 7) for lr in (0.25, 0.5)}
    assert len(tried) == 6


def test_an_interval_has_no_grid(sweep: Sweep) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(UserError, match="a grid needs lists or ranges"):
        sweep("-m", "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "optimizer.lr=interval(0.1,0.2)")


def test_two_processes_share_one_study(sweep: Sweep) -> None:
    optuna = pytest.importorskip("optuna")
    folder = Path("runs/search")
    folder.mkdir(parents=True)
    study = open_study(folder / JOURNAL, "maximize")
    space = {"optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 2e-3, log=True)}
    of_the_living, of_the_dead = study.ask(space), study.ask(space)
    code = "import sys, time\nfrom pathlib import Path\nfrom transface.cli.config.optuna_sweeper import living_worker\n"
    code += "with living_worker(Path(sys.argv[1])) as name: print(name, flush=True); sys.stdin.read()"
    source = str(Path(__file__).parents[4] / "src")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{code}", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        of_the_living.set_user_attr("worker", other.stdout.readline().strip())
        of_the_dead.set_user_attr("worker", "one-that-ended")
        assert sweep(*OPTUNA) == [f"search/trial-{number}" for number in (1, 2, 3, 4)]
        other.communicate("")
    assert sweep(*OPTUNA) == ["search/trial-0"]


def test_a_torn_last_line_of_a_journal_is_dropped_and_a_broken_one_is_named(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    file = tmp_path / JOURNAL
    study = open_study(file, "maximize")
    study.tell(study.ask({"x": optuna.distributions.IntDistribution(0, 9)}), 1.0)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code": 4, "tri')
    assert [trial.value for trial in open_study(file, "maximize").trials] == [1.0]
    assert file.read_bytes().startswith(whole)
    file.write_bytes(b'{"op_code": 4, "tri\n' + whole)
    with pytest.raises(UserError, match=r"study\.journal, line 1 is broken"):
        open_study(file, "maximize")


def test_a_search_in_the_other_direction_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    open_study(tmp_path / JOURNAL, "maximize")
    with pytest.raises(UserError, match=r"wants to maximize, hydra\.sweeper.direction is minimize"):
        open_study(tmp_path / JOURNAL, "minimize")


def test_trials_of_an_earlier_version_are_told_apart(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    (tmp_path / "trials.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"trials\.jsonl was written by an earlier version"):
        open_study(tmp_path / JOURNAL, "maximize")
