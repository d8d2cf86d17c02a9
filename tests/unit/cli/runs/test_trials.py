"""Sweeps without training: which trials run, where, once each, and what a second start does."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig

from transface.cli.config.compose import run_verb
from transface.cli.config.errors import Carried, UserError
from transface.cli.config.optuna_sweeper import JOURNAL, open_study
from transface.cli.runs.run_folder import LOCK, set_aside
from transface.cli.runs.trials import changed_settings, flat, in_trials, read_json, sole_use

Sweep = Callable[..., list[str]]


class Stopped(BaseException):
    """What a kill is to a sweep: nothing after it runs."""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Start a sweep whose trials return lr x K; return the names of those that ran. `stop_after` trials it is killed in
    the next one.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces" / "of" / "mine").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["transface"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def start(*words: str, stop_after: int | None = None, fail: str = "") -> list[str]:
        ran: list[str] = []

        def task(cfg: DictConfig) -> float:
            if stop_after is not None and len(ran) == stop_after:
                raise Stopped
            ran.append(cfg.name)
            assert Path(cfg.checkpoint.folder) == Path(cfg.paths.run) / "checkpoints"
            if fail and fail in cfg.name:
                raise RuntimeError("out of memory")
            (Path(cfg.paths.run) / "metrics.csv").write_text(str(cfg.resume))
            return float(cfg.optimizer.lr * cfg.perturbation.num_patches)

        run_verb("train", ["data.root=faces/of/mine", *words], in_trials(task))
        return ran

    return start


GRID = ("-m", "perturbation.num_patches=1,3", "seed=0,1")


def finished(folder: Path) -> dict[str, float]:
    return {path.parent.name: json.loads(path.read_text())["value"] for path in sorted(folder.rglob("finished.json"))}


def test_trials_are_named_after_what_is_swept_and_nothing_else(sweep: Sweep) -> None:
    assert sweep(*GRID, "name=grid", "optimizer.lr=0.5") == [
        f"grid/perturbation.num_patches={k},seed={s}" for k in (1, 3) for s in (0, 1)
    ]
    assert finished(Path("runs/grid")) == {
        f"perturbation.num_patches={k},seed={s}": 0.5 * k for k in (1, 3) for s in (0, 1)
    }


def test_a_stopped_sweep_goes_on_and_runs_no_finished_trial_again(sweep: Sweep) -> None:
    with pytest.raises(Stopped):
        sweep(*GRID, "name=grid", stop_after=2)
    assert len(finished(Path("runs/grid"))) == 2
    assert sweep(*GRID, "name=grid") == [
        "grid/perturbation.num_patches=3,seed=0",
        "grid/perturbation.num_patches=3,seed=1",
    ]
    assert len(finished(Path("runs/grid"))) == 4
    assert sweep(*GRID, "name=grid") == []


def test_a_grown_grid_runs_what_is_new(sweep: Sweep) -> None:
    sweep("-m", "seed=0,1", "name=grid")
    assert sweep("-m", "seed=0,1,2", "name=grid") == ["grid/seed=2"]


def test_a_trial_with_a_checkpoint_goes_on_and_one_without_starts_anew(sweep: Sweep) -> None:
    with pytest.raises(Stopped):
        sweep("-m", "seed=0,1", "name=grid", stop_after=0)
    trial = Path("runs/grid/seed=0")
    trial.mkdir(parents=True, exist_ok=True)
    (trial / "metrics.csv").write_text("of the first start")
    sweep("-m", "seed=0,1", "name=grid")
    assert (trial / "previous" / "1" / "metrics.csv").read_text() == "of the first start"
    assert (trial / "metrics.csv").read_text() == "False"
    (trial / "finished.json").unlink()
    (trial / "checkpoints" / "step-000000005").mkdir(parents=True)
    (trial / "checkpoints" / "step-000000005" / "trainer.ckpt").touch()
    sweep("-m", "seed=0,1", "name=grid")
    assert (trial / "metrics.csv").read_text() == "auto"
    assert not (trial / "previous" / "2").exists()


def test_other_settings_are_another_trial(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep("-m", "seed=0,1", "name=grid", "optimizer.lr=0.5")
    assert sweep("-m", "seed=0,1", "name=grid", "optimizer.lr=0.25") == ["grid/seed=0", "grid/seed=1"]
    assert "optimizer.lr: 0.5 -> 0.25" in capsys.readouterr().out
    assert json.loads(Path("runs/grid/seed=0/previous/1/finished.json").read_text())["value"] == 0.5 * 7
    assert (
        sweep("-m", "seed=0,1", "name=grid", "optimizer.lr=0.25", "data.num_workers=9", "devices=4", "logger=csv") == []
    )


def test_a_failing_trial_lets_the_others_run_and_is_tried_again(sweep: Sweep) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        sweep(*GRID, "name=grid", fail="=1,seed=1")
    assert len(finished(Path("runs/grid"))) == 3
    assert sweep(*GRID, "name=grid") == ["grid/perturbation.num_patches=1,seed=1"]


def test_a_named_sweep_has_a_folder_of_its_own_beside_the_run(sweep: Sweep) -> None:
    ran = sweep("+sweep=transface/dpap_num_patches", "name=grid")
    assert ran[0] == "grid/perturbation.num_patches=1"
    assert (
        sweep("experiment=transface/vit_t_pack", "sweep=transface/dpap_num_patches")[0]
        == "transface_vit_t_pack_dpap_num_patches/perturbation.num_patches=1"
    )


def test_a_sweep_of_one_setting_is_a_run_in_its_own_folder(sweep: Sweep) -> None:
    assert sweep("-m", "seed=3", "name=one") == ["one"]
    assert sweep("-m", "seed=3", "name=one") == []


def test_a_single_run_is_marked_finished_and_runs_again(sweep: Sweep) -> None:
    Path("runs/one").mkdir(parents=True)
    assert sweep("name=one", "optimizer.lr=0.5") == ["one"]
    assert json.loads(Path("runs/one/finished.json").read_text()) == {"monitor": "val/mean/accuracy", "value": 3.5}
    assert sweep("name=one") == ["one"]


def test_the_ablation_has_every_part(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, tuple[Any, ...]] = {}

    def task(cfg: DictConfig) -> float:
        entropy = cfg.weighting.entropy if cfg.weighting else None
        seen[cfg.name.split("/")[-1]] = (cfg.backbone.gate, cfg.perturbation is not None, entropy)
        return 0.0

    run_verb(
        "train",
        ["data.root=faces", "experiment=transface/vit_t_pack", "sweep=transface/ablation", "seed=0"],
        in_trials(task),
    )
    expected = {
        "plain": ("none", False, None),
        "gate": ("sigmoid", False, None),
        "dpap": ("sigmoid", True, None),
        "dpap_ehsm_paper": ("sigmoid", True, "gaussian"),
        "dpap_ehsm_released": ("sigmoid", True, "std"),
    }
    assert seen == {f"variant={name}": parts for name, parts in expected.items()}


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


def test_settings_without_effect_on_the_result_are_not_compared() -> None:
    before = {
        "seed": 0,
        "devices": 1,
        "paths": {"run": "a"},
        "data": {"num_workers": 1, "root": "x"},
        "trainer": {"max_epochs": 2},
    }
    now = {
        "seed": 0,
        "devices": 8,
        "paths": {"run": "b"},
        "data": {"num_workers": 4, "root": "x"},
        "trainer": {"max_epochs": 3},
    }
    assert changed_settings(before, now) == ["trainer.max_epochs: 2 -> 3"]
    assert changed_settings({}, now) == []
    older = {"seed": 0, "data": {"root": "x"}}
    newer = {"seed": 0, "data": {"root": "x", "shuffle": True}}
    assert changed_settings(older, newer) == ["data.shuffle: None -> True"]
    assert changed_settings(older, newer, same_words=True) == []
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A run's folder that another process trains in."""
    code = (
        "import sys; from transface.cli.runs.trials import sole_use, Path\nwith sole_use(Path(sys.argv[1])):"
        " print('held', flush=True); sys.stdin.read()"
    )
    folder = tmp_path / "runs" / "mine"
    source = str(Path(__file__).parents[4] / "src")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r}); {code}", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield folder
        other.communicate("")


def test_a_second_process_is_kept_out_of_a_run_that_goes_on(held: Path, sweep: Sweep) -> None:
    (held / "metrics.csv").write_text("of the first")
    with pytest.raises((Carried, UserError), match="another process trains in"):
        sweep("name=mine")
    set_aside(held)
    assert (held / LOCK).exists(), "a lock that is moved away holds nobody off"
    with pytest.raises(UserError, match="another process trains in"), sole_use(held, wait=False):
        pass


def test_a_folder_is_free_again_after_a_run_that_failed(sweep: Sweep) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        sweep("name=mine", fail="mine")
    assert sweep("name=mine") == ["mine"]


def test_a_broken_file_of_a_trial_is_named(tmp_path: Path) -> None:
    for text in ('{"monitor": "val', "[1, 2]", "null"):
        (tmp_path / "finished.json").write_text(text)
        with pytest.raises(UserError, match=r"finished\.json is broken .* remove it"):
            read_json(tmp_path / "finished.json")
    assert read_json(tmp_path / "trial.json") == {}


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
