"""An error on one rank of two ends both through the command line, with that rank's message; a skipped record costs
itself alone.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from transface.data.recordio.reader import RecordReader, RecordWriter
from transface.synthetic.datasets import write_identity_pack

SETTINGS = [
    *(
        "experiment=demo",
        "backbone.depth=1",
        "backbone.embed_dim=16",
        "backbone.num_heads=2",
        "perturbation=none",
        "weighting=none",
    ),
    *(
        "embedding_size=16",
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "devices=2",
        "trainer.max_epochs=1",
        "schedule.warmup_epochs=0",
    ),
    *("data.total_batch_size=8", "data.num_workers=0", "protocol.files=[]", "logger=csv", "name=run"),
]
BROKEN = """
from torch import nn
from transface.distributed import rank

class BrokenOn(nn.Module):
    def __init__(self, rank, step, kind):
        super().__init__()
        self.rank, self.step, self.kind, self.calls = rank, step, kind, 0

    def forward(self, images, generator):
        self.calls += 1
        if rank() != self.rank or self.calls <= self.step:
            return images
        if self.kind == "raise":
            raise RuntimeError("broken on purpose")
        return images * float("nan")
"""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return write_identity_pack(tmp_path / "pack", 6, images_per_identity=4)


def spoiled(pack: Path, tmp_path: Path) -> Path:
    """Return a copy of the pack whose image of key 5 cannot be decoded."""
    target = Path(shutil.copytree(pack, tmp_path / "spoiled"))
    reader = RecordReader(pack / "train.rec")
    with RecordWriter(target / "train.rec", target / "train.idx") as writer:
        for key in reader.keys():  # noqa: SIM118 - a reader is no dict
            record = reader[key]
            writer.write(key, record.header, b"no image" if key == 5 else record.payload)
    return target


def train(pack: Path, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "broken_part.py").write_text(BROKEN)
    paths = f"{Path(__file__).parents[2] / 'src'}{os.pathsep}{tmp_path}"
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "transface",
        "train",
        *SETTINGS,
        f"data.root={pack}",
        f"paths.runs={tmp_path}",
        *words,
    ]
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, complained = process.communicate(timeout=240)  # until the last process of the run closes the pipes
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("kind", "message"),
    [("nan", "NonFiniteLossError: loss is nan at step 1"), ("raise", "RuntimeError: broken on purpose")],
)
def test_both_ranks_end_with_the_words_of_the_one_that_failed(
    pack: Path, tmp_path: Path, rank: int, kind: str, message: str
) -> None:
    part = {"_target_": "broken_part.BrokenOn", "rank": rank, "step": 1, "kind": kind}
    outcome = train(pack, tmp_path, *(f"+augmentation.{name}={value}" for name, value in part.items()))
    assert outcome.returncode == 1
    assert f"rank {rank} failed: {message}" in outcome.stderr
    assert json.loads((tmp_path / "run" / "failure.json").read_text())["rank"] == rank


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_bad_record_of_one_rank_ends_both_with_one_line(pack: Path, tmp_path: Path, num_workers: int) -> None:
    outcome = train(spoiled(pack, tmp_path), tmp_path, f"data.num_workers={num_workers}")
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("transface: ")]
    assert len(lines) == 2
    assert all("on_bad_record=skip leaves such records out" in line for line in lines)
    assert not (tmp_path / "run" / "checkpoints" / "last").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_skipped_record_costs_itself_alone_and_ranks_stay_in_step(pack: Path, tmp_path: Path) -> None:
    outcome = train(
        spoiled(pack, tmp_path), tmp_path, "data.on_bad_record=skip", "data.max_bad_share=0.1", "trainer.max_epochs=2"
    )
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    assert outcome.stdout.count("1 of the 24 records read in this epoch were bad and skipped") == 2
    assert (tmp_path / "run" / "checkpoints" / "last").resolve().name == "step-000000006"
