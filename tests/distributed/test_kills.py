"""kill -9 of a two-process run at any moment, then resume=true: the end is bit for bit that of the run that was never killed."""

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

from transface.data.synthetic import write_identity_pack
from transface.training.checkpoint_files import read_checkpoint

STEPS = 40
SETTINGS = [
    *("experiment=demo", "backbone.depth=1", "backbone.embed_dim=16", "backbone.num_heads=2", "backbone.drop_path_rate=0.1"),
    *("classifier=partial_fc", "classifier.embedding_size=16", "classifier.sample_rate=0.5", "margin=adaface", "margin.scale=32"),
    *("trainer=ddp", "trainer.accelerator=cpu", "devices=2", "trainer.max_epochs=-1", f"trainer.max_steps={STEPS}", "schedule.warmup_epochs=0"),
    *("data.total_batch_size=8", "data.num_workers=0", "protocol.files=[]", "checkpoint.every_n_steps=3", "logger=csv"),
]


def start(pack: Path, runs: Path, *words: str) -> subprocess.Popen[bytes]:
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-W", "ignore", "-m", "transface", "train", *SETTINGS, f"data.root={pack}", f"paths.runs={runs}", *words]
    return subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> None:
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said.decode()[-3000:]


def final_state(run: Path) -> dict[str, torch.Tensor]:
    folder = (run / "checkpoints" / "last").resolve()
    assert folder.name == f"step-{STEPS:09d}"
    content = read_checkpoint(folder)
    state = {name: value for name, value in content["state_dict"].items() if isinstance(value, torch.Tensor)}
    for index, moments in content["optimizer_states"][0]["state"].items():
        state |= {f"optimizer.{index}.{name}": value for name, value in moments.items() if isinstance(value, torch.Tensor)}
    for file in sorted(folder.glob("centers-*.safetensors")):
        state |= {f"{file.name}.{name}": value for name, value in load_file(file).items()}
    return state


def killed_run(pack: Path, runs: Path, *, kills: int, moments: random.Random, seconds: float) -> dict[str, torch.Tensor]:
    """Return the end of a run that is killed some times, each time resumed (or begun again, before its first checkpoint)."""
    whole = runs / "killed" / "checkpoints"
    for _ in range(kills):
        process = start(pack, runs, "name=killed", f"resume={'true' if whole.is_dir() and any(whole.glob('step-*[0-9]')) else 'false'}")
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if (whole / "last").exists() and (whole / "last").resolve().name == f"step-{STEPS:09d}":
            break
    finish(start(pack, runs, "name=killed", "resume=auto"))
    return final_state(runs / "killed")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [pytest.param(2, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.slow)])
def test_killed_runs_end_bit_for_bit_where_the_whole_one_ends(tmp_path: Path, kills: int) -> None:
    pack = write_identity_pack(tmp_path / "pack", 11, images_per_identity=4)
    began = time.monotonic()
    finish(start(pack, tmp_path / "runs", "name=whole"))
    seconds = time.monotonic() - began
    whole = final_state(tmp_path / "runs" / "whole")
    killed = killed_run(pack, tmp_path / "runs", kills=kills, moments=random.Random(kills), seconds=seconds)
    assert killed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(killed[name], value), name
