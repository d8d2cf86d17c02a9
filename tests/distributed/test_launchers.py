"""The same run started by us, by two torchrun agents and by two tasks of SLURM, as docs/cluster.md has it: the same
weights at the end.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from transface.synthetic.datasets import write_identity_pack
from transface.training.checkpoints.reader import read_checkpoint

STEPS = 6
SETTINGS = [
    *(
        "experiment=demo",
        "backbone.depth=1",
        "backbone.embed_dim=16",
        "backbone.num_heads=2",
        "classifier=partial_fc",
        "embedding_size=16",
    ),
    *("trainer=ddp_cpu", "trainer.max_epochs=-1", f"trainer.max_steps={STEPS}", "schedule.warmup_epochs=0"),
    *("data.total_batch_size=8", "data.num_workers=0", "protocol.files=[]", "logger=csv"),
]


def start(folder: Path, module: list[str], words: list[str], **variables: str) -> subprocess.Popen[bytes]:
    """Start one of two nodes; its words go to a file, so that no pipe fills."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "TORCHELASTIC", "MASTER_"))
    }
    source = str(Path(__file__).parents[2] / "src")
    environment |= {"PYTHONPATH": source, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **variables}
    command = [
        sys.executable,
        "-W",
        "ignore",
        *module,
        "train",
        *SETTINGS,
        f"data.root={folder / 'pack'}",
        f"paths.runs={folder}",
        *words,
    ]
    with (folder / f"{words[0]}-{variables.get('SLURM_PROCID', len(list(folder.glob('*.log'))))}.log").open(
        "wb"
    ) as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def finish(folder: Path, nodes: list[subprocess.Popen[bytes]]) -> None:
    try:
        codes = [node.wait(timeout=240) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert codes == [0] * len(nodes), "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))


def weights(run: Path) -> dict[str, torch.Tensor]:
    folder = (run / "checkpoints" / "last").resolve()
    assert folder.name == f"step-{STEPS:09d}"
    state = {
        name: value for name, value in read_checkpoint(folder)["state_dict"].items() if isinstance(value, torch.Tensor)
    }
    for file in sorted(folder.glob("centers-*.safetensors")):
        state |= {f"{file.name}.{name}": value for name, value in load_file(file).items()}
    return state


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_launcher_trains_the_same_model(tmp_path: Path) -> None:
    write_identity_pack(tmp_path / "pack", 8, images_per_identity=6)
    ours, node = ["-m", "transface"], ["devices=1", "num_nodes=2"]
    finish(tmp_path, [start(tmp_path, ours, ["name=ours", "devices=2"])])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    meeting = [
        "--nnodes",
        "2",
        "--nproc_per_node",
        "1",
        "--rdzv_backend",
        "c10d",
        "--rdzv_endpoint",
        f"localhost:{port}",
    ]
    agents = [
        start(tmp_path, ["-m", "torch.distributed.run", *meeting, *ours], ["name=torchrun", *node]) for _ in range(2)
    ]
    finish(tmp_path, agents)
    job = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "faces",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
    }
    job |= {"SLURM_LOCALID": "0", "SLURM_NODELIST": "localhost", "MASTER_ADDR": "localhost"}
    tasks = [
        start(
            tmp_path, ours, ["name=slurm", "resume=auto", *node], SLURM_PROCID=str(rank), SLURM_NODEID=str(rank), **job
        )
        for rank in range(2)
    ]
    finish(tmp_path, tasks)
    expected = weights(tmp_path / "ours")
    assert any(name.startswith("centers-") for name in expected)
    for name in ("torchrun", "slurm"):
        found = weights(tmp_path / name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), name
