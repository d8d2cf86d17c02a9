"""Names and writes the files in which what was computed from a large file is kept, so that it is computed once a machine."""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO


def cache_folder() -> Path:
    """Return where such files are kept: $TRANSFACE_CACHE, or transface/ in the user's cache folder."""
    if named := os.environ.get("TRANSFACE_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transface"


def kept_path(kind: str, files: Sequence[Path], *, ending: str) -> Path:
    """Return the name of what is kept of `files`: another one as soon as the place, size or time of any of them changes."""
    states = [(path.resolve(), path.stat()) for path in files]
    text = "\n".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)
    name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return cache_folder() / kind / f"{files[0].stem}-{name}{ending}"


@contextlib.contextmanager
def keeping(kept_at: Path) -> Iterator[IO[bytes]]:
    """Open the file that gets the name `kept_at` once it is whole; of one that fails nothing is left. Whoever may read its folder may read it."""
    kept_at.parent.mkdir(parents=True, exist_ok=True)
    partial = kept_at.with_name(f".{kept_at.name}.{uuid.uuid4().hex}")  # processes of several machines may write it at once
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(kept_at)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
