"""kill -9 of a two-process run at any moment, then resume=true: the end is bit for bit that of the run that was never
killed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from transface.synthetic.datasets import write_identity_pack
from transface.training.checkpoints.reader import read_checkpoint

STEPS = 900
SETTINGS = [
    *(
        "experiment=demo",
        "backbone.depth=1",
        "backbone.embed_dim=16",
        "backbone.num_heads=2",
        "backbone.drop_path_rate=0.1",
    ),
    *("classifier=partial_fc", "embedding_size=16", "classifier.sample_rate=0.5", "margin=adaface", "margin.scale=32"),
    *(
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "devices=2",
        "trainer.max_epochs=-1",
        f"trainer.max_steps={STEPS}",
        "schedule.warmup_epochs=0",
    ),
    *("data.total_batch_size=8", "data.num_workers=0", "protocol.files=[]", "checkpoint.every_n_steps=3", "logger=csv"),
]


def start(pack: Path, runs: Path, *words: str) -> subprocess.Popen[bytes]:
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "transface",
        "train",
        *SETTINGS,
        f"data.root={pack}",
        f"paths.runs={runs}",
        *words,
    ]
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said.decode()[-3000:]


def final_state(run: Path, steps: int = STEPS) -> dict[str, torch.Tensor]:
    """Return all tensors of a run's last checkpoint: weights, moments of the optimizer, class centres."""
    folder = (run / "checkpoints" / "last").resolve()
    assert folder.name == f"step-{steps:09d}"
    content = read_checkpoint(folder)
    state = {name: value for name, value in content["state_dict"].items() if isinstance(value, torch.Tensor)}
    for index, moments in content["optimizer_states"][0]["state"].items():
        state |= {
            f"optimizer.{index}.{name}": value for name, value in moments.items() if isinstance(value, torch.Tensor)
        }
    for file in sorted(folder.glob("centers-*.safetensors")):
        state |= {f"{file.name}.{name}": value for name, value in load_file(file).items()}
    return state


def latest_step(run: Path) -> int:
    return max(
        (int(path.name[5:]) for path in (run / "checkpoints").glob("step-*") if path.name[5:].isdigit()), default=-1
    )


def kill_once(pack: Path, runs: Path, moments: random.Random) -> None:
    """Start the run, or go on with it, and kill it: one time in five while it starts, else some moments after it wrote
    a checkpoint.
    """
    run = runs / "killed"
    before = latest_step(run)
    process = start(pack, runs, "name=killed", f"resume={'true' if before >= 0 else 'false'}")
    early = moments.random() < 0.2
    deadline = time.monotonic() + (moments.uniform(0.5, 6.0) if early else 120)
    while time.monotonic() < deadline and latest_step(run) == before and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0 if early else moments.uniform(0.0, 0.3))
    assert process.poll() is None, "the run ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [2, 20])
def test_killed_runs_end_bit_for_bit_where_the_whole_one_ends(tmp_path: Path, kills: int) -> None:
    pack = write_identity_pack(tmp_path / "pack", 11, images_per_identity=4)
    runs = tmp_path / "runs"
    finish(start(pack, runs, "name=whole"))
    moments = random.Random(kills)
    for _ in range(kills):
        kill_once(pack, runs, moments)
    assert latest_step(runs / "killed") < STEPS
    finish(start(pack, runs, "name=killed", "resume=auto"))
    whole, killed = final_state(runs / "whole"), final_state(runs / "killed")
    assert killed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(killed[name], value), name
