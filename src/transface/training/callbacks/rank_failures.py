"""An error on one rank ends every rank with that error's words: a rank that waits in a collective for one that failed
would wait for ever.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lightning import Callback, LightningModule, Trainer

from transface.distributed import rank, world_size

log = logging.getLogger(__name__)
FAILURE = "failure.json"


class RankFailure(NamedTuple):
    """The first error of a run.

    Attributes:
        rank: where it happened.
        message: what it said.
        code: exit code of the ranks that did not fail themselves.
        late: whether it waited in a collective for longer than it may, so that the fault lies with another rank.
    """

    rank: int
    message: str
    code: int
    late: bool = False


class RankFailures(Callback):
    """Writes the first error of any rank to `<folder>/failure.json`; the others watch for it, say it and end. Nothing
    on one process.

    A rank inside a collective cannot be interrupted, so the watching thread ends its process (no checkpoint, no
    teardown).

    Args:
        folder: of the run, seen by all ranks.
        user_line: the one line of an error that a user made, or None for any other; the first ends with code 2, the
            second with 1.
        failure_line: the one line of a run that failed in a known way, or None.
        is_late: whether an error says that a rank waited in a collective for longer than it may: the others then say
            where they stand, as one of them hangs.
        seconds_between_looks: how often the file is looked for; a failing rank stays four times as long, so that all
            see it.
        end_process: called with the exit code, for tests.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        user_line: Callable[[BaseException], str | None],
        failure_line: Callable[[BaseException], str | None] = lambda _: None,
        is_late: Callable[[BaseException], bool] = lambda _: False,
        seconds_between_looks: float = 0.5,
        end_process: Callable[[int], object] = os._exit,
    ) -> None:
        self.path = Path(folder) / FAILURE
        self.user_line, self.failure_line, self.is_late = user_line, failure_line, is_late
        self.seconds_between_looks, self.end_process = seconds_between_looks, end_process
        self._over = threading.Event()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if world_size() == 1:
            return
        if rank() == 0:
            self.path.unlink(missing_ok=True)
        trainer.strategy.barrier("no earlier failure")
        self._over.clear()
        threading.Thread(target=self._watch, args=(rank(),), name="rank-failures", daemon=True).start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._over.set()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Tell the other ranks; a rank that fails because another one did says the other's words."""
        self._over.set()
        if world_size() == 1 or isinstance(exception, (SystemExit, KeyboardInterrupt)):
            return
        own = describe(exception, rank=rank(), line=self.user_line(exception), failure=self.failure_line(exception))
        own = own._replace(late=self.is_late(exception))
        first = write_first(self.path, own)
        if first.rank != own.rank and first.message != own.message:
            self._end(first)
        time.sleep(4 * self.seconds_between_looks)

    def _watch(self, own_rank: int) -> None:
        while not self._over.wait(self.seconds_between_looks):
            failure = read_failure(self.path)
            if failure is not None and failure.rank != own_rank:
                if failure.late:
                    print(f"transface: rank {own_rank} stood at {main_thread_place()}", file=sys.stderr, flush=True)
                self._end(failure)
                return

    def _end(self, failure: RankFailure) -> None:
        sys.stdout.flush()
        print(f"transface: rank {failure.rank} failed: {failure.message}", file=sys.stderr, flush=True)
        # Rank 0 ends by its own error: Lightning's launcher would kill it, before it has spoken, at another code than 0
        # of a process it started.
        self.end_process(0 if failure.rank == 0 else failure.code)


def main_thread_place() -> str:
    """Return file, line and function in which the main thread is."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return "an unknown place"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def describe(error: BaseException, *, rank: int, line: str | None, failure: str | None = None) -> RankFailure:
    """Return the failure that an error is, in the words for the user where there are some: of a mistake of the user's,
    or of a run that failed.
    """
    if line is not None:
        return RankFailure(rank, line, 2)
    return RankFailure(rank, failure or f"{type(error).__name__}: {error}".strip(), 1)


def write_first(path: Path, failure: RankFailure) -> RankFailure:
    """Write a failure where none is written yet, and return the one that is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(failure._asdict()))
    except FileExistsError:
        return read_failure(path) or failure
    except OSError as error:  # a full disk may be what failed
        log.error("%s could not be written (%s): other ranks may wait for this one", path, error)
    return failure


def read_failure(path: Path) -> RankFailure | None:
    """Return the failure a file tells of, None if there is none or it is not whole yet."""
    try:
        return RankFailure(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
