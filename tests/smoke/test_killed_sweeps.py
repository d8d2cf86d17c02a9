"""A sweep killed half-way and started again ends with all its results, each trial run once: in one process, as jobs of
submitit, and by Optuna.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from transface.cli.config.optuna_sweeper import open_study
from transface.synthetic.datasets import write_identity_pack, write_pair_sets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SMALL = (
    "experiment=transface/vit_t_pack",
    "+backbone.depth=1",
    "+backbone.embed_dim=16",
    "+backbone.num_heads=2",
    "data.total_batch_size=8",
    "data.num_workers=0",
    "data.root=faces",
    "protocol.files=[faces/easy.bin]",
    "trainer=cpu",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
    "schedule.warmup_epochs=0",
    "checkpoint.every_n_steps=4",
    "logger=csv",
)
GRID = ("-m", "name=grid", "perturbation.num_patches=1,3", "seed=0,1")
NAMES = [f"perturbation.num_patches={k},seed={s}" for k in (1, 3) for s in (0, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_identity_pack(tmp_path / "faces", 8, images_per_identity=4)
    write_pair_sets(tmp_path / "faces", 20, num_identities=4)
    return tmp_path


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a sweep in a process group of its own."""
    command = [sys.executable, "-m", "transface", "train", *SMALL, *words]
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def kill(process: subprocess.Popen[bytes], *, group: bool) -> None:
    os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
    process.wait()


def finished(folder: Path) -> dict[str, float]:
    return {path.parent.name: json.loads(path.read_text())["value"] for path in folder.glob("*/finished.json")}


def steps_of(trial: Path) -> list[int]:
    """Return the steps whose loss was logged, in order."""
    with (trial / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]


def check_each_ran_once(folder: Path, before: dict[str, int]) -> None:
    for name in NAMES:
        trial = folder / name
        assert steps_of(trial) == list(range(12)), f"{name} logged {steps_of(trial)}"
        if name in before:
            assert (trial / "checkpoints" / "last" / "trainer.ckpt").stat().st_mtime_ns == before[name], (
                f"{name} was run again"
            )


def stamps(folder: Path) -> dict[str, int]:
    return {
        name: (folder / name / "checkpoints" / "last" / "trainer.ckpt").stat().st_mtime_ns for name in finished(folder)
    }


def test_a_grid_killed_half_way_ends_with_four_results_each_run_once(folder: Path) -> None:
    grid = folder / "runs" / "grid"
    process = start(folder, *GRID)
    wait_until(
        lambda: len(finished(grid)) >= 1 and (grid / NAMES[1] / "checkpoints" / "step-000000004").is_dir(), process
    )
    kill(process, group=True)
    before = stamps(grid)
    assert 1 <= len(before) < 4
    assert start(folder, *GRID).wait() == 0
    assert sorted(finished(grid)) == sorted(NAMES)
    assert all(0 <= value <= 1 for value in finished(grid).values())
    check_each_ran_once(grid, before)


@pytest.mark.parametrize("group", [True, False], ids=["jobs_killed_too", "jobs_left_running"])
def test_the_same_through_submitits_local_executor(folder: Path, group: bool) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    grid = folder / "runs" / "grid"
    words = (*GRID, "hydra/launcher=local", "hydra.sweeper.max_batch_size=2")
    process = start(folder, *words)
    wait_until(lambda: any((grid / name / "checkpoints" / "step-000000004").is_dir() for name in NAMES), process)
    kill(process, group=group)
    before = stamps(grid)
    assert len(before) < 4
    assert start(folder, *words).wait() == 0
    assert sorted(finished(grid)) == sorted(NAMES)
    check_each_ran_once(grid, before)


def test_a_job_warned_of_preemption_saves_is_queued_again_and_ends(folder: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    grid = folder / "runs" / "grid"
    process = start(
        folder,
        "-m",
        "name=grid",
        "seed=0",
        "trainer.max_epochs=60",
        "hydra/launcher=local",
        "validation.every_n_epochs=null",
    )
    wait_until(lambda: (grid / "checkpoints" / "step-000000004").is_dir(), process)
    jobs = [int(path.name) for path in (grid / ".submitit").iterdir() if path.name.isdigit()]
    children = Path(f"/proc/{jobs[0]}/task/{jobs[0]}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGUSR2)
    assert process.wait() == 0
    logs = "".join(path.read_text() for path in (grid / ".submitit").rglob("*_log.*"))
    assert "told to stop: saved" in logs
    assert "Requeued job" in logs
    assert steps_of(grid) == list(range(240))


def test_a_search_killed_half_way_proposes_no_trial_twice(folder: Path) -> None:
    pytest.importorskip("optuna")
    words = ("sweep=optuna", "name=search", "hydra.sweeper.n_trials=4")
    search = folder / "runs" / "search"
    process = start(folder, *words)
    wait_until(lambda: len(finished(search)) >= 2, process)
    kill(process, group=True)
    assert start(folder, *words).wait() == 0
    trials = open_study(search / "study.journal", "maximize").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert finished(search) == {f"trial-{trial.number}": trial.value for trial in trials}
    assert all(steps_of(search / f"trial-{number}") == list(range(12)) for number in range(4))
