"""How far a pack verb has come: a bar on a terminal, a line a minute elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give what is told of each step: a bar where there is a terminal, else lines."""
    if not sys.stderr.isatty():
        yield plain_progress(title, total)
        return
    from transface.cli.config.model_options import progress_bar

    with progress_bar(title, total) as tell:
        yield tell


def plain_progress(
    title: str, total: int, *, every_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
) -> Callable[[int], None]:
    """Return what tells of progress where there is no terminal: a line on stderr a minute."""
    started = told = clock()
    done = 0

    def tell(count: int) -> None:
        nonlocal done, told
        done += count
        if clock() - told >= every_seconds:
            told = clock()
            print(f"{title}: {done} of {total}, {done / (told - started):.0f} a second", file=sys.stderr, flush=True)

    return tell
