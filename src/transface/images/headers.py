"""Reads kind and size of an encoded image from its header, nothing being decoded: JPEG, PNG, WebP, BMP, TIFF.

Sizes are (height, width) of the upright picture: a photograph that its EXIF turns by a quarter has them exchanged.
"""

import io
import struct

from PIL import Image, UnidentifiedImageError

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
EXIF = b"Exif\0\0"
OTHER_KINDS = ("WEBP", "BMP", "TIFF")  # read by Pillow
ORIENTATION_TAG = 0x0112
LARGEST_EXIF_ENTRIES = 512
KNOWN = "JPEG, PNG, WebP, BMP or TIFF"
FOREIGN = (  # what people give instead, by how it begins
    (b"GIF8", "a GIF", "convert it to PNG"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image", "'git lfs pull' fetches it"),
    (b"<", "a web page or SVG", "download the image itself"),
    (b"%PDF", "a PDF", "export its picture"),
)


def image_size(encoded: bytes | memoryview) -> tuple[int, int]:
    """Return (height, width) of the upright picture as its header states them.

    Raises:
        ValueError: if these are not the bytes of an image of a known kind, with what they are where that can be told.
    """
    if encoded[:3] == JPEG:
        (height, width), turned = _jpeg_size(encoded)
        return (width, height) if turned else (height, width)
    if encoded[:8] == PNG and len(encoded) >= 24 and encoded[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", encoded, 16)
        return (width, height) if _png_is_turned(encoded) else (height, width)
    return _other_size(bytes(encoded))


def turns_by_exif(encoded: bytes | memoryview) -> bool:
    """Return whether the EXIF of a JPEG or PNG exchanges its height and width.

    Raises:
        ValueError: for a JPEG without its size.
    """
    if encoded[:3] == JPEG:
        return _jpeg_size(encoded)[1]
    return encoded[:8] == PNG and _png_is_turned(encoded)


def is_plain(encoded: bytes | memoryview) -> bool:
    """Return whether torchvision decodes it (JPEG, PNG); Pillow does the rest."""
    return encoded[:3] == JPEG or encoded[:8] == PNG


def open_other(encoded: bytes) -> Image.Image:
    """Return the picture of another kind than JPEG and PNG, opened but not decoded.

    Raises:
        ValueError: if it is of no known kind.
    """
    try:
        return Image.open(io.BytesIO(encoded), formats=OTHER_KINDS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"its header states too large a size: {error}; make it smaller first") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, struct.error):
        raise ValueError(f"not {KNOWN}: {described(encoded)}") from None


def described(encoded: bytes) -> str:
    """Return what bytes that are no image of a known kind seem to be, and what to do."""
    if not encoded:
        return "the file is empty"
    if encoded[4:8] == b"ftyp" and encoded[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"avif"):
        return "a HEIC or AVIF picture: convert it to JPEG"
    for start, what, todo in FOREIGN:
        if encoded.startswith(start):
            return f"{what}: {todo}"
    return f"{len(encoded)} bytes that begin with {encoded[:8].hex()}"


def _other_size(encoded: bytes) -> tuple[int, int]:
    with open_other(encoded) as picture:
        width, height = picture.size
        if picture.format == "TIFF":  # Pillow turns these while it decodes, and states the size they then have
            return height, width
        try:
            turned = picture.getexif().get(ORIENTATION_TAG, 1) in (5, 6, 7, 8)
        except (OSError, SyntaxError, ValueError, TypeError, struct.error):
            turned = False
    return (width, height) if turned else (height, width)


def _jpeg_size(encoded: bytes | memoryview) -> tuple[tuple[int, int], bool]:
    """Return (height, width) as they are stored, and whether its EXIF exchanges them."""
    at, end, turned = 2, len(encoded) - 9, False
    while at <= end:
        marker = encoded[at + 1]
        if encoded[at] != 0xFF:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = int.from_bytes(encoded[at + 5 : at + 7]), int.from_bytes(encoded[at + 7 : at + 9])
            return (height, width), turned
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # padding, and markers that carry nothing
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(encoded[at + 2 : at + 4])
        if marker == 0xE1 and encoded[at + 4 : at + 10] == EXIF:
            turned = is_turned(bytes(encoded[at + 10 : at + 2 + length]))
        at += 2 + length
    raise ValueError(f"a JPEG without its size: {len(encoded)} bytes")


def _png_is_turned(encoded: bytes | memoryview) -> bool:
    at = 33
    while at + 8 <= len(encoded):
        length, kind = int.from_bytes(encoded[at : at + 4]), encoded[at + 4 : at + 8]
        if kind == b"eXIf":
            return is_turned(bytes(encoded[at + 8 : at + 8 + length]))
        if kind in (b"IDAT", b"IEND"):
            return False
        at += 12 + length
    return False


def is_turned(exif: bytes) -> bool:
    """Return whether an EXIF block (a TIFF header and its first directory) says that height and width are exchanged."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 10:
        return False
    (start,) = struct.unpack_from(order + "I", exif, 4)
    if start + 2 > len(exif):
        return False
    (count,) = struct.unpack_from(order + "H", exif, start)
    for entry in range(min(count, LARGEST_EXIF_ENTRIES)):
        at = start + 2 + 12 * entry
        if at + 12 > len(exif):
            return False
        tag, kind = struct.unpack_from(order + "HH", exif, at)
        if tag == ORIENTATION_TAG:
            return kind == 3 and struct.unpack_from(order + "H", exif, at + 8)[0] in (5, 6, 7, 8)
    return False
