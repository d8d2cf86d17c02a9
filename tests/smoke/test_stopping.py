"""A signal that means "end", sent to the whole process group of a training with loader workers: it saves, says so, and
ends with its code.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transface.synthetic.datasets import write_identity_pack

SMALL = (
    "experiment=demo",
    "backbone.depth=1",
    "backbone.embed_dim=16",
    "backbone.num_heads=2",
    "data.root=faces",
    "data.total_batch_size=8",
    "data.num_workers=2",
    "protocol.files=[]",
    "trainer.max_epochs=100000",
    "trainer.log_every_n_steps=1",
    "checkpoint.every_n_steps=null",
    "logger=csv",
    "name=stopped",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stopping")
    write_identity_pack(root / "faces", 8, images_per_identity=4)
    return root


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "transface", "train", *SMALL[:-1], f"name={name}"]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_steps(folder: Path, name: str, process: subprocess.Popen[str]) -> None:
    rows = folder / "runs" / name / "metrics.csv"
    for _ in range(3000):
        assert process.poll() is None, process.communicate()[0]
        if rows.is_file() and len(rows.read_text().splitlines()) > 2:
            return
        time.sleep(0.05)
    raise AssertionError("no step was logged")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 143, marks=pytest.mark.slow),
    ],
    ids=lambda value: str(value),
)
def test_a_signal_to_the_group_saves_and_ends_the_run(folder: Path, number: signal.Signals, code: int) -> None:
    name = f"by_{number.name}"
    process = start(folder, name)
    try:
        wait_for_steps(folder, name, process)
        os.killpg(process.pid, number)
        output = process.communicate(timeout=120)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code, output
    assert f"told to stop by {number.name}: saved" in output
    assert "memory" not in output
    assert (folder / "runs" / name / "checkpoints" / "last" / "trainer.ckpt").is_file()
