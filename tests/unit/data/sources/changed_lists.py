"""Lists as others publish them: other line ends, a mark of byte order, lines that were changed."""

from collections.abc import Callable
from pathlib import Path


def change(path: Path, what: Callable[[list[str]], list[str]], *, end: str = "\n", mark: bool = False) -> None:
    """Write the lines of a text file anew."""
    lines = what(path.read_text(encoding="utf-8").splitlines())
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + (end.join(lines) + end).encode())
