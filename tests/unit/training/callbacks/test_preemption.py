"""A warning from the cluster: saved at the next step, queued again by whoever started the job, then a clean end."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback

from transface.training.callbacks import preemption
from transface.training.callbacks.preemption import Preempted, PreemptionGuard
from transface.training.checkpoints.writer import CheckpointWriter, complete_checkpoints


class Warn(Callback):
    """Sends this process a signal after the second step."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def on_train_batch_end(self, trainer: Any, *words: Any) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_warned_run_saves_and_ends(
    number: signal.Signals, tmp_path: Path, train: Callable[..., Any], make_module: Callable[..., Any]
) -> None:
    before = signal.getsignal(number)
    parts = [Warn(number), CheckpointWriter(tmp_path, every_n_steps=None), PreemptionGuard(requeue=False)]
    with pytest.raises(Preempted) as ended:
        train(make_module(), parts, steps=8)
    assert ended.value.code == 143
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step-000000002"]
    signal.signal(number, before)


class Queue:
    """What submitit puts on its signal, in its module's name."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, number: int, frame: Any) -> None:
        self.asked.append(number)


Queue.__module__ = "submitit.core.job_environment"


def test_a_job_of_submitit_is_queued_again_by_it_after_the_checkpoint(
    tmp_path: Path, train: Callable[..., Any], make_module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm: list[bool] = []
    monkeypatch.setattr(preemption, "requeue_slurm_job", lambda: slurm.append(True))
    queue = Queue()
    before = signal.signal(signal.SIGUSR2, queue)
    try:
        with pytest.raises(Preempted):
            train(
                make_module(),
                [Warn(signal.SIGUSR2), CheckpointWriter(tmp_path, every_n_steps=None), PreemptionGuard()],
                steps=8,
            )
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert queue.asked == [signal.SIGUSR2]
    assert slurm == []
    assert len(complete_checkpoints(tmp_path)) == 1


def test_a_job_of_slurm_alone_is_queued_again_by_slurm(
    tmp_path: Path, train: Callable[..., Any], make_module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **settings: Any) -> Any:
        asked.append(command)
        return type("Outcome", (), {"returncode": 0, "stderr": ""})()

    monkeypatch.setattr(preemption.subprocess, "run", run)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    assert preemption.requeue_slurm_job()
    assert asked == [["scontrol", "requeue", "12_3"]]


def test_a_run_that_nobody_warns_goes_to_its_end_and_gives_the_signals_back(
    train: Callable[..., Any], make_module: Callable[..., Any]
) -> None:
    guard = PreemptionGuard()
    before = {number: signal.getsignal(number) for number in guard.signals}
    assert train(make_module(), [guard], steps=3).global_step == 3
    assert {number: signal.getsignal(number) for number in guard.signals} == before  # Lightning's own are gone too


def test_a_run_that_fails_gives_the_signals_back(train: Callable[..., Any], make_module: Callable[..., Any]) -> None:
    class Failing(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("broken")

    guard = PreemptionGuard()
    before = {number: signal.getsignal(number) for number in guard.signals}
    with pytest.raises(RuntimeError, match="broken"):
        train(make_module(), [guard, Failing()], steps=3)
    assert {number: signal.getsignal(number) for number in guard.signals} == before
