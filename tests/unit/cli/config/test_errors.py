"""Which errors become one line, and with which exit code."""

import errno
import logging
from pathlib import Path

import pytest
import torch

from transface.cli.config.errors import failure_line, is_late, reported
from transface.training.callbacks.failure_guards import NonFiniteLossError


def outcome_of(error: Exception) -> int:
    with reported("train") as outcome:
        raise error
    return outcome.code


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError("margin must be positive,\n got -1"), 2, "transface: margin must be positive,; got -1\n"),
        (
            NonFiniteLossError("loss is nan at step 3; the batch is in x.pt"),
            1,
            "transface: loss is nan at step 3; the batch is in x.pt\n",
        ),
        (
            OSError(30, "Read-only file system", "runs"),
            2,
            "transface: no permission to write or read runs: Read-only file system; choose another folder",
        ),
        (
            OSError(28, "No space left on device", "/tmp/x", None, "runs/demo/trainer.ckpt"),
            1,
            (
                "transface: No space left on device: runs/demo/trainer.ckpt could not be written; make room;"
                " resume=true resumes from the last checkpoint\n"
            ),
        ),
        (
            RuntimeError(
                "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that dataloader's workers"
                " are out of shared memory."
            ),
            1,
            (
                "transface: DataLoader worker (pid 12) is killed by signal: Bus error: a machine or container out of"
                " (shared) memory kills its workers; lower"
            ),
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
            1,
            "transface: CUDA out of memory. Take smaller batches (gradient_accumulation=2",
        ),
    ],
)
def test_known_errors_are_one_line(
    error: Exception, code: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSFACE_TRACEBACK", raising=False)
    assert outcome_of(error) == code
    said = capsys.readouterr().err
    assert said.startswith(words)
    assert said.count("\n") == 1


def test_an_error_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFACE_TRACEBACK", raising=False)
    with pytest.raises(ZeroDivisionError):
        outcome_of(ZeroDivisionError("ours"))


def test_a_traceback_is_shown_to_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFACE_TRACEBACK", "1")
    with pytest.raises(NonFiniteLossError):
        outcome_of(NonFiniteLossError("loss is nan"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError("Timed out waiting 15000ms for recv operation to complete"),
            "did not come to a collective within trainer.collective_timeout",
        ),
        (RuntimeError("Connection closed by peer [127.0.0.1]:33223"), "another rank ended without a word"),
        (
            torch.distributed.DistNetworkError("The client socket has timed out after 2000ms while trying to connect"),
            "the ranks could not meet at MASTER_ADDR and MASTER_PORT (The client socket has timed out",
        ),
        (
            torch.distributed.DistStoreError("Timed out after 3 seconds waiting for clients. 1/2 clients joined."),
            "1/2 clients joined): were all of them started",
        ),
    ],
)
def test_a_lost_rank_is_a_line(error: Exception, words: str) -> None:
    assert words in (failure_line(error, "train") or "")
    assert is_late(error) == ("trainer.collective_timeout" in words)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, "Input/output error", "out/a.npz"), "Input/output error: out/a.npz could not be read or"),
        (
            type("SafetensorError", (Exception,), {})("I/O error: No space left"),
            "a file of weights could not be written",
        ),
        (
            RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0: file write failed"),
            "is the disk full",
        ),
    ],
)
def test_a_broken_disk_is_a_line(error: Exception, words: str) -> None:
    line = failure_line(error, "train")
    assert line is not None
    assert words in line
    assert "\n" not in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the disk that is always full is Linux's")
def test_a_log_that_cannot_be_written_is_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    logger, before = logging.Logger("full"), logging.raiseExceptions
    logger.addHandler(logging.FileHandler("/dev/full"))
    with reported("train") as outcome:
        logger.warning("half of it")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert outcome.code == 1
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert logging.raiseExceptions is before
