"""A rank dies, hangs or is slow before, in or after a collective or a save: all ranks end within a stated time with a
line that says so, and the resumed run ends bit for bit where the run without the fault ends.

Most of them start as torchrun starts them, forked from one process that has imported everything; four through the
command line alone, whose rank 0 starts the other.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tests.contracts.warm_commands import start
from tests.distributed.test_kills import SETTINGS, final_state

from transface.synthetic.datasets import write_identity_pack

STEPS = 6
TIMEOUT_SECONDS = 15.0  # trainer.collective_timeout of these runs
END_SECONDS = 45.0  # after the fault: the timeout, the looks for a failure, and the end of Python
COMMAND = [*(word for word in SETTINGS if not word.startswith("trainer.max_steps")), f"trainer.max_steps={STEPS}"]
COMMAND += [f"trainer.collective_timeout={TIMEOUT_SECONDS / 60}", "report=false", "name=run", "paths.runs=."]


class Ended(NamedTuple):
    """How a run ended: what both ranks said, their exit codes, and when the last one ended."""

    said: str
    codes: list[int]
    time: float


class Whole(NamedTuple):
    """The run in which nothing goes wrong: its last state, and how often each rank came to each kind of call."""

    state: dict[str, torch.Tensor]
    counts: list[dict[str, int]]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_identity_pack(tmp_path_factory.mktemp("data") / "pack", 6, images_per_identity=4)


@pytest.fixture(scope="module")
def whole(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    counts = []
    for rank in range(2):
        runs = tmp_path_factory.mktemp("whole")
        ended = forked(pack, runs, *fault("none", "before", "save", rank=rank, number=0, mark=runs / "counts.json"))
        assert ended.codes == [0, 0], ended.said[-3000:]
        counts.append(json.loads((runs / "counts.json").read_text()))
    return Whole(final_state(runs / "run", STEPS), counts)


def fault(kind: str, place: str, call: str, *, rank: int, number: int, mark: Path) -> list[str]:
    """Return the words that put a fault into a run."""
    said = {"kind": kind, "place": place, "call": call, "rank": rank, "number": number, "mark": mark}
    words = ["+callbacks.fault._target_=tests.distributed.seeded_fault.Fault"]
    return [*words, *(f"+callbacks.fault.{name}={value}" for name, value in said.items())]


def forked(pack: Path, runs: Path, *words: str) -> Ended:
    """Run two ranks to their end, each forked, as torchrun would start them."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    group |= {"GLOO_SOCKET_IFNAME": "lo"}
    outputs = [runs / f"{rank}.log" for rank in range(2)]
    ranks = [
        start(
            ["train", *COMMAND, f"data.root={pack}", *words],
            runs,
            output,
            environment={"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
            own={**group, "LOCAL_RANK": str(rank), "RANK": str(rank)},
        )
        for rank, output in enumerate(outputs)
    ]
    try:
        for process in ranks:
            process.join(240)
            assert process.exitcode is not None, [output.read_text()[-2000:] for output in outputs]
    finally:
        for process in ranks:
            process.kill()
    return Ended(
        "".join(output.read_text() for output in outputs), [process.exitcode for process in ranks], time.time()
    )


def launched(pack: Path, runs: Path, *words: str) -> Ended:
    """Run the command line, whose rank 0 starts rank 1, until both are gone."""
    paths = os.pathsep.join([str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "transface", "train", *COMMAND, f"data.root={pack}", *words],
        env=environment,
        cwd=runs,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=240)  # until the last process of the run closes the pipe
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Ended(said, [process.returncode], time.time())


def struck(run: Any, pack: Path, runs: Path, counts: list[dict[str, int]], kind: str, place: str, call: str) -> Ended:
    """Make a run with a fault whose rank and moment are drawn, and hold how it ends."""
    draw = random.Random(f"{kind} {place} {call} {run.__name__}")
    rank, mark = draw.randrange(2), runs / "struck.json"
    number = draw.randint(1, counts[rank][call])
    ended: Ended = run(pack, runs, *fault(kind, place, call, rank=rank, number=number, mark=mark))
    assert mark.is_file(), ended.said[-3000:]
    assert "Traceback" not in ended.said, ended.said[-3000:]
    if kind == "slow":
        assert not any(ended.codes), ended.said[-3000:]
        return ended
    assert ended.time - json.loads(mark.read_text()) < END_SECONDS
    assert any(ended.codes)
    lines = [line for line in ended.said.splitlines() if line.startswith("transface: ")]
    if kind == "hang":
        assert any("did not come to a collective within" in line for line in lines), ended.said[-3000:]
        assert any(f"rank {rank} stood at" in line and "seeded_fault.py" in line for line in lines), ended.said[-3000:]
    elif run is forked or rank == 1:
        # Where rank 1 dies, the launcher in rank 0 may see it before the collective does, and ends all in its words.
        assert any("ended without a word" in line for line in lines) or "with code -9" in ended.said, ended.said[-3000:]
    return ended


def hold_state(runs: Path, whole: Whole) -> None:
    found = final_state(runs / "run", STEPS)
    assert found.keys() == whole.state.keys()
    assert [name for name, value in whole.state.items() if not torch.equal(found[name], value)] == []


CASES = [
    (kind, place, call)
    for kind in ("die", "hang", "slow")
    for place in ("before", "in", "after")
    for call in ("all_reduce", "all_gather", "save")
    if (place, call) != ("in", "save")  # a save is no collective of its own: its parts are
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "place", "call"), CASES)
def test_all_ranks_end_in_time_and_the_resumed_run_ends_as_if_nothing_had_been(
    pack: Path, whole: Whole, tmp_path: Path, kind: str, place: str, call: str
) -> None:
    struck(forked, pack, tmp_path, whole.counts, kind, place, call)
    if kind != "slow":
        again = forked(pack, tmp_path, "resume=auto")
        assert again.codes == [0, 0], again.said[-3000:]
    hold_state(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "place", "call"), [("die", "in", "all_reduce"), ("hang", "before", "all_gather")])
def test_ranks_of_one_command_end_alike(
    pack: Path, whole: Whole, tmp_path: Path, kind: str, place: str, call: str
) -> None:
    struck(launched, pack, tmp_path, whole.counts, kind, place, call)
    again = launched(pack, tmp_path, "resume=auto")
    assert again.codes == [0], again.said[-3000:]
    hold_state(tmp_path, whole)
