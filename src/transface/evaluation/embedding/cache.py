"""A memory-mapped file of embeddings that fills up batch by batch, keyed by checkpoint and image list, and resumes
after a stop.

`<folder>/<name>-<checkpoint hash>.npy` holds (M, 2, E) float32 (image, mirrored image); the .json beside it says of
which images, and how many rows are done.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import write_whole, writing_path
from transface.progress import SECONDS_BETWEEN_NOTES

ROWS_BETWEEN_NOTES = 16384


class EmbeddingCache:
    """Embeddings on disk. `rows` is the memory-mapped array, `num_done` how many rows, from the front, are there
    already.

    Args:
        folder: made if missing.
        name: of the image set.
        checkpoint_hash: of the network; another network's cache is another file.
        image_hash: of the image list.
        shape: (M, 2, E).
        settings: what else shapes an embedding (precision, image size).
        clock: seconds, monotonic.

    Raises:
        ValueError: if the file there was made of other images or with other settings.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        *,
        checkpoint_hash: str,
        image_hash: str,
        shape: tuple[int, int, int],
        settings: dict[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not checkpoint_hash:
            raise ValueError("a cache of embeddings needs the checkpoint's hash to be keyed by")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name.replace('/', '-')}-{checkpoint_hash[:16]}.npy"
        self.note_path = self.path.with_suffix(".json")
        self.key = {"checkpoint": checkpoint_hash, "images": image_hash, "shape": list(shape), "settings": settings}
        note = self._read_note()
        if note is None:
            self.num_done = 0
            self.rows = self._create(shape)
            self._write_note()
        else:
            self._require_same(note)
            self.rows, self.num_done = self._open(shape), int(note["num_done"])
            if not 0 <= self.num_done <= shape[0]:
                raise ValueError(
                    f"{self.note_path} says that {self.num_done} of {shape[0]} rows are done: delete it and"
                    f" {self.path.name}"
                )
        self._clock = clock
        self._num_noted, self._noted = self.num_done, clock()

    def write(self, start: int, rows: NDArray[np.float32]) -> None:
        """Store rows that follow those done so far; the note is renewed every 30 seconds and every 16,384 rows,
        after the rows are on disk.
        """
        assert start == self.num_done, "rows are written in order"
        self.rows[start : start + len(rows)] = rows
        self.num_done += len(rows)
        due = self._clock() - self._noted >= SECONDS_BETWEEN_NOTES
        if due or self.num_done - self._num_noted >= ROWS_BETWEEN_NOTES or self.num_done == len(self.rows):
            self.flush()

    def flush(self) -> None:
        """Bring rows and note to disk."""
        self.rows.flush()
        self._write_note()
        self._num_noted, self._noted = self.num_done, self._clock()

    def _create(self, shape: tuple[int, int, int]) -> np.memmap[Any, Any]:
        with writing_path(self.path) as partial:
            np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape).flush()
            _take_room(partial)
        rows: np.memmap[Any, Any] = np.load(self.path, mmap_mode="r+")
        return rows

    def _open(self, shape: tuple[int, int, int]) -> np.memmap[Any, Any]:
        try:
            with self.path.open("rb") as stream:
                version = np.lib.format.read_magic(stream)
                header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                whole = header(stream) == (shape, False, np.dtype(np.float32))
                whole = whole and self.path.stat().st_size == stream.tell() + 4 * int(np.prod(shape))
        except (ValueError, EOFError):
            whole = False
        if not whole:  # a shorter file would be made longer with zeros
            raise ValueError(f"the cache {self.path} is broken: delete it and {self.note_path.name}")
        rows: np.memmap[Any, Any] = np.load(self.path, mmap_mode="r+")
        return rows

    def _read_note(self) -> dict[str, Any] | None:
        if not self.path.is_file() or not self.note_path.is_file():
            return None
        try:
            note: Any = json.loads(self.note_path.read_text(encoding="utf-8"))
        except ValueError:
            note = None
        if not isinstance(note, dict) or not isinstance(note.get("num_done"), int):
            raise ValueError(
                f"{self.note_path} is not the note of a cache of embeddings: delete it and {self.path.name}"
            )
        return note

    def _require_same(self, note: dict[str, Any]) -> None:
        for part, words in (
            ("images", "another image list"),
            ("shape", "another number of images"),
            ("settings", "other settings"),
        ):
            if note.get(part) != self.key[part]:
                raise ValueError(
                    f"the cache {self.path} was made of {words} ({part}: {_short(note.get(part))}, now"
                    f" {_short(self.key[part])}): delete it or give another cache folder"
                )

    def _write_note(self) -> None:
        write_whole(self.note_path, json.dumps({**self.key, "num_done": self.num_done}))


def _take_room(path: Path) -> None:
    """Take a file's room on the disk: a full one ends with an error now, and not with a signal when a page of the
    mapped file is written.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _short(value: Any) -> str:
    return str(value)[:12] if isinstance(value, str) else str(value)
