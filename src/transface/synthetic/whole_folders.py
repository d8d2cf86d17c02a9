"""Writes a folder of made-up data whole or not at all, with the settings it was made from; never makes it twice."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transface.artifacts import replace_folder

DRAWING = 2  # counts changes of the faces' looks: in the manifest, so that older data is made again
MANIFEST = "made_up.json"


def write_whole(root: str | Path, settings: Mapping[str, Any], write: Callable[[Path], None]) -> bool:
    """Let `write` fill a folder beside `root` and rename it when whole; return whether anything had to be written.

    Made-up data of other settings is replaced.

    Raises:
        FileExistsError: if `root` holds anything but made-up data.
    """
    root = Path(root)
    found = settings_of(root)
    if found == dict(settings):
        return False
    if root.exists() and any(root.iterdir()) and found is None:
        raise FileExistsError(f"{root} holds something that is not made-up data (no {MANIFEST}); give another folder")
    place = root.resolve()  # where `root` is a link, what it leads to is replaced, not the link
    partial = place.with_name(place.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        write(partial)
        (partial / MANIFEST).write_text(json.dumps(dict(settings), indent=1) + "\n", encoding="utf-8")
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    replace_folder(partial, place)
    return True


def settings_of(root: Path) -> dict[str, Any] | None:
    """Return the settings that a folder was made from; None where it is no made-up data."""
    path = root / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
