"""Where a run begins or resumes: nothing of an earlier run is overwritten, and nothing later than the checkpoint is
taken for the run's own.
"""

import json
from pathlib import Path

import pytest

from transface.cli.config.errors import UserError
from transface.cli.runs.run_folder import (
    checkpoint_of,
    environment_of,
    prepare_folder,
    record_environment,
    run_name,
    set_aside,
)

HEADER = "step,train/loss,val/mean/accuracy"


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / "checkpoints" / f"step-{step:09d}"
    path.mkdir(parents=True)
    (path / "trainer.ckpt").write_text(str(step))
    return path


def open_run(folder: Path, *, resume: bool | str) -> Path | None:
    found = checkpoint_of(folder, resume=resume)
    prepare_folder(folder, found)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 30 steps with three checkpoints, the best after 20."""
    folder = tmp_path / "runs" / "mine"
    paths = [checkpoint(folder, step) for step in (10, 20, 30)]
    (folder / "checkpoints" / "last").symlink_to(paths[-1].name)
    (folder / "checkpoints" / "best").symlink_to(paths[1].name)
    lines = [HEADER, *(f"{step},{100 - step},\n{step + 1},,0.5" for step in (9, 19, 29))]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    (folder / "finished.json").write_text('{"value": 0.5}')
    return folder


def steps_left(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.mark.parametrize("word", [True, "true", "auto"])
def test_resuming_takes_the_newest_and_is_not_finished_any_more(run: Path, word: bool | str) -> None:
    assert open_run(run, resume=word) == run / "checkpoints" / "step-000000030" / "trainer.ckpt"
    assert not (run / "finished.json").exists()
    assert not (run / "previous").exists()
    assert len((run / "metrics.csv").read_text().splitlines()) == 7


@pytest.mark.parametrize("name", ["checkpoints/step-000000010", "checkpoints/step-000000010/trainer.ckpt"])
def test_going_back_to_an_own_checkpoint_sets_the_later_ones_aside(run: Path, name: str) -> None:
    assert open_run(run, resume=str(run / name)) == (run / "checkpoints" / "step-000000010" / "trainer.ckpt").resolve()
    assert steps_left(run) == ["step-000000010"]
    assert sorted(path.name for path in (run / "previous" / "1" / "checkpoints").iterdir()) == [
        "step-000000020",
        "step-000000030",
    ]
    assert (run / "metrics.csv").read_text() == f"{HEADER}\n9,91,\n10,,0.5\n"


def test_what_was_measured_at_an_earlier_end_is_none_of_a_run_that_goes_on(run: Path) -> None:
    for name in ("results/lfw_F1.json", "results/lfw_F1.npz", "results/before/lfw_F1.json", "report/report.html"):
        (run / name).parent.mkdir(exist_ok=True, parents=True)
        (run / name).write_text(name)
    (run / "trained.json").write_text('{"steps": 30}')
    open_run(run, resume=True)
    assert [path.name for path in (run / "results").iterdir()] == ["before"], "of the weights it began with"
    assert not (run / "report").exists()
    assert not (run / "trained.json").exists()
    aside = run / "previous" / "1"
    assert (aside / "results" / "lfw_F1.json").read_text() == "results/lfw_F1.json"
    assert (aside / "report" / "report.html").is_file()
    assert "step-000000030" in steps_left(run)


def test_going_back_to_the_best_keeps_its_link(run: Path) -> None:
    assert (
        open_run(run, resume=str(run / "checkpoints" / "best"))
        == (run / "checkpoints" / "step-000000020" / "trainer.ckpt").resolve()
    )
    assert steps_left(run) == ["best", "step-000000010", "step-000000020"]


def test_another_run_s_folder_means_its_newest_checkpoint_and_this_run_is_set_aside(run: Path, tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "runs" / "other", 5)
    assert open_run(run, resume=str(tmp_path / "runs" / "other")) == (other / "trainer.ckpt").resolve()
    assert (run / "previous" / "1" / "metrics.csv").is_file()
    assert not (run / "checkpoints").exists()
    assert open_run(tmp_path / "runs" / "third", resume=str(run / "previous" / "1")) is not None


def test_a_checkpoint_of_an_earlier_part_of_this_run_stays_where_it_is(run: Path) -> None:
    open_run(run, resume=False)
    file = open_run(run, resume=str(run / "previous" / "1"))
    assert file is not None
    assert file.read_text() == "30"


def test_a_process_that_does_not_speak_for_the_run_moves_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    before = sorted(str(path) for path in run.rglob("*"))
    assert open_run(run, resume=str(run / "checkpoints" / "step-000000010")) is not None
    assert open_run(run, resume=False) is None
    assert sorted(str(path) for path in run.rglob("*")) == before


def test_nothing_to_go_on_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no whole checkpoint"):
        open_run(tmp_path, resume=True)
    assert open_run(tmp_path, resume="auto") is None
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        open_run(tmp_path, resume=str(tmp_path / "absent"))


def test_trials_of_a_sweep_of_that_name_stay_where_a_run_is_set_aside(tmp_path: Path) -> None:
    for name in ("config.yaml", "metrics.csv", "multirun.yaml", "study.journal", "seed=1/config.yaml", "report/a.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    set_aside(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"previous", "multirun.yaml", "study.journal", "seed=1"}
    aside = tmp_path / "previous" / "1"
    assert {path.name for path in aside.iterdir()} == {"config.yaml", "metrics.csv", "report"}


def test_the_environment_tells_code_packages_devices_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("API_TOKEN", "secret")
    record_environment(tmp_path, environment_of(world_size=8))
    text = (tmp_path / "environment.json").read_text()
    told = json.loads(text)
    assert {"versions", "python", "platform", "devices", "cpu_count", "commit", "command"} < set(told)
    assert told["world_size"] == 8
    assert told["variables"]["OMP_NUM_THREADS"] == "3"
    assert told["packages"]["torch"] == told["versions"]["torch"]
    assert "secret" not in text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/demo", "demo"),
        ("runs/grid/optimizer.lr=0.05,seed=0", "optimizer.lr=0.05,seed=0"),
        ("runs/grid/optimizer.lr=0.05,seed=0/checkpoints/best", "optimizer.lr=0.05,seed=0"),
        ("runs/demo/checkpoints/step-000000100/trainer.ckpt", "demo"),
        ("weights/backbone.v2.pt", "backbone.v2"),
    ],
)
def test_a_model_is_called_after_its_run_with_its_whole_name(tmp_path: Path, path: str, name: str) -> None:
    target = tmp_path / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch() if target.suffix in (".pt", ".ckpt") else target.mkdir()
    assert run_name(target) == name
