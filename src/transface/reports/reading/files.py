"""What an encoded image is, by how it begins."""

_MAGIC = (
    (b"\x89PNG", ".png", "image/png"),
    (b"\xff\xd8", ".jpg", "image/jpeg"),
    (b"GIF8", ".gif", "image/gif"),
    (b"RIFF", ".webp", "image/webp"),
)


def suffix_of(encoded: bytes) -> str:
    """Return the file ending of an encoded image."""
    return next((suffix for magic, suffix, _ in _MAGIC if encoded.startswith(magic)), ".png")


def media_type(encoded: bytes) -> str:
    """Return the media type of an encoded image."""
    return next((kind for magic, _, kind in _MAGIC if encoded.startswith(magic)), "image/png")
