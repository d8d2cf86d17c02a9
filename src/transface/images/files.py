"""Lists the files of a folder and of the folders in it, following links but not in circles."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: str | Path, *, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the files of a folder and of the folders in it, as paths relative to it; names that begin with a dot are passed over.

    Links are followed, also to folders, but not from a folder (`above`: those it lies in) back into itself.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in found:
        if entry.is_dir():
            yield from (f"{entry.name}/{name}" for name in files_below(entry.path, above=above | {real}))
        else:  # a link to nothing too: whoever reads it says what is missing
            yield entry.name
