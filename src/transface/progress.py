"""Progress of long work: a bar on a terminal; elsewhere a line at least every 30 seconds, also of work that has no
steps to count.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SECONDS_BETWEEN_NOTES = 30.0  # of what long work has done: a stop loses no more
LINE_SECONDS = 20.0  # without a word; a line then comes within a quarter of it more
Advance = Callable[[int], None]


@dataclass
class Work:
    """Something that takes time: `total` is None where its steps are not counted."""

    title: str
    total: int | None
    unit: str
    started: float
    done: int = 0

    def line(self, now: float) -> str:
        """Return what to say of it at a time."""
        seconds = now - self.started
        if self.total is None:
            return f"{self.title}: at work for {duration(seconds)}"
        rate = self.done / max(seconds, 1e-9)
        words = [f"{self.title}: {self.done:,} of {self.total:,} {self.unit}"]
        if self.done:
            words += [f"{rate:,.0f} a second" if rate >= 10 else f"{rate:.2g} a second"]
            words += [f"{duration(max(self.total - self.done, 0) / rate)} left"]
        return ", ".join(words)


class Teller:
    """Says a line of the innermost work whenever nothing was said for a while.

    Args:
        say: takes the line.
        clock: seconds, monotonic.
    """

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.say, self.clock = say, clock
        self.works: list[Work] = []
        self._said = clock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def told(self) -> None:
        """Record that something else reported progress."""
        self._said = self.clock()

    def beat(self) -> None:
        """Say a line if one is due."""
        works = self.works[-1:]
        if works and self.clock() - self._said >= LINE_SECONDS:
            self.told()
            self.say(works[0].line(self.clock()))

    @contextlib.contextmanager
    def working(self, title: str, total: int | None, unit: str) -> Iterator[Work]:
        """Be at some work, inside what is under way already."""
        work = Work(title, total, unit, self.clock())
        if not self.works:
            self.told()
        self.works.append(work)
        if len(self.works) == 1:
            self._start()
        try:
            yield work
        finally:
            self.works.remove(work)
            if not self.works:
                self._end()

    def _start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="progress", daemon=True)
        self._thread.start()

    def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(LINE_SECONDS / 4):
            self.beat()


def duration(seconds: float) -> str:
    """Return a time in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


_teller = Teller(_say)


def told() -> None:
    """Record that a line was printed: the next one is due a while after it."""
    _teller.told()


@contextlib.contextmanager
def working(title: str, total: int | None = None, *, unit: str = "images", bar: bool = True) -> Iterator[Advance]:
    """Tell on stderr how far some work is; yields the function to be told of steps done.

    On a terminal a bar with steps/s and the time left, if `total` and `bar` say so; elsewhere a line at least every 30
    seconds. The first process of a run speaks alone.
    """
    if not is_main_process():
        yield _ignore
        return
    if sys.stderr.isatty():
        if total is None or not bar:
            yield _ignore
            return
        with _bar(title, total, unit) as advance:
            yield advance
        return
    with _teller.working(title, total, unit) as work:

        def count(steps: int) -> None:
            work.done += steps

        yield count


def _ignore(_: int) -> None:
    pass


def is_main_process() -> bool:
    """Return whether this process speaks for the run: rank 0 under torchrun, SLURM, submitit or Lightning's own
    launcher.
    """
    for name in ("RANK", "SLURM_PROCID", "SUBMITIT_LOCAL_GLOBALID"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return int(os.environ.get("LOCAL_RANK", "0")) == int(os.environ.get("NODE_RANK", "0")) == 0


@contextlib.contextmanager
def _bar(title: str, total: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(title, total=total, rate="")

        def advance(count: int) -> None:
            shown.advance(task, count)
            speed = shown.tasks[0].speed
            shown.update(task, rate=f"{speed:.0f} {unit}/s" if speed else "")

        yield advance
