"""Commands run one at a time, and stopped together: a signal that means "end" reaches the command at work and ends the
runner once that command has saved.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Children:
    """Runs commands on one thread at the lowest priority.

    Each is a process group of its own: CTRL-C of a terminal reaches this process alone, which passes every signal on,
    so that a second CTRL-C ends a training at once as it does anywhere else.

    Attributes:
        told: the signal that ended the work, or None.
    """

    def __init__(self, program: Sequence[str], *, python_path: Path) -> None:
        self.program = list(program)
        self.environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(python_path)}
        self.told: signal.Signals | None = None
        self._child: subprocess.Popen[Any] | None = None

    def heed(self) -> None:
        """Heed signals from now on."""
        for number in ENDING:
            signal.signal(number, self._heed)

    def _heed(self, number: int, frame: FrameType | None) -> None:
        self.told = signal.Signals(number)
        if self._child is None:
            raise SystemExit(self.exit_code)
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(self._child.pid, number)

    @property
    def exit_code(self) -> int:
        """128 + the signal, 0 where none came."""
        return 0 if self.told is None else 128 + self.told

    def call(self, words: Sequence[str], *, log: Path, seconds: float) -> bool:
        """Run a command and return whether it ended in time, well, and untold.

        Raises:
            RuntimeError: if it failed.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # a signal now would find no command to pass it to
            try:
                self._child = subprocess.Popen(
                    [*self.program, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    start_new_session=True,
                    preexec_fn=_lowest_and_mortal,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        try:
            code = self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._child.pid, signal.SIGTERM)  # it saves at the end of its step
            self._child.wait()
            return False
        finally:
            self._child = None
        if self.told is not None:
            return False
        if code != 0:
            raise RuntimeError(f"{' '.join(words)} ended with {code}: see {log}")
        return True


def _lowest_and_mortal() -> None:
    """Take the lowest priority, and on Linux end with the runner, whatever ends it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    os.nice(19)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
