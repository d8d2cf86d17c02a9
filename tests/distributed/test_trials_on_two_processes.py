"""A sweep whose trials take two processes each: Lightning's children repeat the trial, not the sweep, and leave nothing
for the next one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transface.synthetic.datasets import write_identity_pack, write_pair_sets

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(1500)]
SMALL = (
    "experiment=transface/vit_t_pack",
    "+backbone.depth=1",
    "+backbone.embed_dim=16",
    "+backbone.num_heads=2",
    "data.total_batch_size=8",
    "data.num_workers=0",
    "data.root=faces",
    "protocol.files=[faces/easy.bin]",
    "trainer.max_epochs=1",
    "trainer.log_every_n_steps=1",
    "schedule.warmup_epochs=0",
    "logger=csv",
)


def train(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, "-m", "transface", "train", *SMALL, *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


def test_each_trial_of_a_sweep_has_two_processes(tmp_path: Path) -> None:
    write_identity_pack(tmp_path / "faces", 8, images_per_identity=4)
    write_pair_sets(tmp_path / "faces", 20, num_identities=4)
    outcome = train(tmp_path, "-m", "name=grid", "seed=0,1", "trainer=ddp_cpu", "devices=2")
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    for seed in (0, 1):
        trial = tmp_path / "runs" / "grid" / f"seed={seed}"
        assert 0 <= json.loads((trial / "finished.json").read_text())["value"] <= 1
        assert not (trial / "previous").exists()
        rows = (trial / "metrics.csv").read_text().splitlines()
        column = rows[0].split(",").index("train/loss")
        assert sum(bool(row.split(",")[column]) for row in rows[1:]) == 4
