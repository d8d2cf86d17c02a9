"""Names the files in which what was computed from a large file is kept, so that it is computed once a machine."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path


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
