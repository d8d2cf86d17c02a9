"""Report files: written whole or not at all, named by what they hold."""

import os
import tempfile
from pathlib import Path

_MAGIC = (
    (b"\x89PNG", ".png", "image/png"),
    (b"\xff\xd8", ".jpg", "image/jpeg"),
    (b"GIF8", ".gif", "image/gif"),
    (b"RIFF", ".webp", "image/webp"),
)


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file by way of a temporary one, so that a stop leaves the old file or the new one; make its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
        try:
            stream.write(content)
        except BaseException:
            os.unlink(stream.name)
            raise
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)
    return path


def suffix_of(encoded: bytes) -> str:
    """Return the file ending of an encoded image."""
    return next((suffix for magic, suffix, _ in _MAGIC if encoded.startswith(magic)), ".png")


def media_type(encoded: bytes) -> str:
    """Return the media type of an encoded image."""
    return next((kind for magic, _, kind in _MAGIC if encoded.startswith(magic)), "image/png")
