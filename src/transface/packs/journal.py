"""The journal of a pack being written: which plan its partial files belong to, and which images were skipped."""

import json
import os
from pathlib import Path

from transface.artifacts import write_whole

JOURNAL = "pack.partial"


class Journal:
    """The file `pack.partial`: which plan the partial files belong to, and which of its images were skipped."""

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.path = root / JOURNAL
        self.fingerprint = fingerprint
        self.positions: list[int] = []
        self.skipped: list[str] = []
        self.known = self._read()

    def _read(self) -> bool:
        if not self.path.is_file():
            return False
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        if lines[0] != self.fingerprint:
            return False
        for line in lines[1:-1]:  # the last is empty, or was being written
            try:
                position, reason = json.loads(line)
            except ValueError:
                break
            self.positions.append(int(position))
            self.skipped.append(str(reason))
        return True

    def keep_below(self, position: int) -> None:
        """Forget images skipped at `position` or later: they will be met again."""
        kept = [(place, reason) for place, reason in zip(self.positions, self.skipped, strict=True) if place < position]
        self.positions, self.skipped = [place for place, _ in kept], [reason for _, reason in kept]
        write_whole(self.path, "".join([self.fingerprint + "\n", *(json.dumps(line) + "\n" for line in kept)]))

    def skip(self, position: int, reason: str) -> None:
        self.positions.append(position)
        self.skipped.append(reason)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([position, reason]) + "\n")
            file.flush()
            os.fsync(file.fileno())  # before the records after it: these are counted, and would be taken for others


def forget_journal(root: Path) -> None:
    """Remove the journal of the pack in `root`: it is done."""
    (root / JOURNAL).unlink(missing_ok=True)
