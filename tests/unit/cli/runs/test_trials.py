"""Sweeps without training: which trials run, where, once each, and what a second start does."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from tests.unit.cli.runs.sweeping import Stopped, Sweep

from transface.cli.config.compose import run_verb
from transface.cli.config.errors import Carried, UserError
from transface.cli.runs.run_folder import LOCK, set_aside
from transface.cli.runs.trials import changed_settings, flat, in_trials, read_json, sole_use

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
