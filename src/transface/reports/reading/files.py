"""Report files: written whole or not at all, named by what they hold."""

from pathlib import Path

from transface.artifacts import writing_file

_MAGIC = (
    (b"\x89PNG", ".png", "image/png"),
    (b"\xff\xd8", ".jpg", "image/jpeg"),
    (b"GIF8", ".gif", "image/gif"),
    (b"RIFF", ".webp", "image/webp"),
)


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file of bytes so that a stop leaves the old file or the new one, make its folder if need be, and return
    its path.
    """
    with writing_file(path) as stream:
        stream.write(content)
    return path


def suffix_of(encoded: bytes) -> str:
    """Return the file ending of an encoded image."""
    return next((suffix for magic, suffix, _ in _MAGIC if encoded.startswith(magic)), ".png")


def media_type(encoded: bytes) -> str:
    """Return the media type of an encoded image."""
    return next((kind for magic, _, kind in _MAGIC if encoded.startswith(magic)), "image/png")
