"""Decoding in batches: the same pixels as one by one, and each broken image named."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from transface.images.decoding import ImageError, decode_images
from transface.images.headers import image_size


def pillow(encoded: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(encoded)).convert("RGB"))).permute(2, 0, 1)


def saved(image: Image.Image, kind: str, **words: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **words)
    return buffer.getvalue()


def test_pngs_and_jpegs_of_one_batch_keep_their_places(
    make_jpeg: Callable[..., bytes], make_png: Callable[..., bytes]
) -> None:
    encoded = [make_png(0), make_jpeg(1), make_png(2), make_jpeg(3)]
    images = decode_images(encoded)
    assert images.shape == (4, 3, 112, 112)
    assert images.dtype == torch.uint8
    for image, data in zip(images, encoded, strict=True):
        assert (image.int() - pillow(data).int()).abs().max() <= 2  # decoders round the chroma differently


def test_png_pixels_are_exact(make_png: Callable[..., bytes], make_picture: Callable[..., torch.Tensor]) -> None:
    assert torch.equal(decode_images([make_png(5)])[0], make_picture(5))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("JPEG", "L"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        *(("PNG", mode) for mode in ("L", "LA", "RGB", "RGBA", "P", "1")),
    ],
)
def test_other_colour_modes_become_rgb(kind: str, mode: str) -> None:
    image = Image.fromarray(np.full((20, 24, 3), 255, np.uint8)).convert(mode)
    decoded = decode_images([saved(image, kind)])
    assert decoded.shape == (1, 3, 20, 24)
    assert decoded.min() > 250


def test_sixteen_bits_a_colour_become_eight() -> None:
    """A PNG made by hand: two grey pixels of 16 bits, the brightest and 257 * 100."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress(b"\0" + struct.pack(">HH", 65535, 25700))
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )
    eight = saved(Image.fromarray(np.full((1, 2, 3), 7, np.uint8)), "PNG")
    decoded = decode_images([png, eight])
    assert decoded.dtype == torch.uint8
    assert decoded[0, :, 0].tolist() == [[255, 100]] * 3
    assert decoded[1].unique().tolist() == [7]


@pytest.mark.parametrize("side", [1, 7, 112, 300])
def test_the_size_is_read_without_decoding(side: int) -> None:
    image = Image.fromarray(np.zeros((side, side + 3, 3), np.uint8))
    for words in ({}, {"progressive": True}, {"exif": b"Exif\0\0MM"}):
        assert image_size(saved(image, "JPEG", **words)) == (side, side + 3)
    assert image_size(saved(image, "PNG")) == (side, side + 3)


def test_a_thumbnail_inside_does_not_hide_the_real_size() -> None:
    small = saved(Image.fromarray(np.zeros((8, 8, 3), np.uint8)), "JPEG")
    large = saved(Image.fromarray(np.zeros((50, 60, 3), np.uint8)), "JPEG")
    with_thumbnail = large[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + large[2:]
    assert image_size(with_thumbnail) == (50, 60)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda data: b"", "not JPEG, PNG, WebP, BMP or TIFF: the file is empty"),
        (lambda data: b"GIF89a" + data, "a GIF: convert it to PNG"),
        (lambda data: data[:12], "a JPEG without its size"),
        (lambda data: data[: len(data) // 2], "cannot be decoded"),
        (lambda data: data[:2] + b"\xff\xd9", "a JPEG without its size"),
    ],
)
def test_an_undecodable_image_is_named(
    make_jpeg: Callable[..., bytes], spoil: Callable[[bytes], bytes], complaint: str
) -> None:
    good = make_jpeg(0)
    with pytest.raises(ImageError, match=rf"^image of key 8 .*{complaint}") as caught:
        decode_images([good, spoil(good), good], names=["of key 7", "of key 8", "of key 9"])
    assert caught.value.index == 1


def test_another_size_is_named(make_jpeg: Callable[..., bytes]) -> None:
    with pytest.raises(ImageError, match="image 1 must be 112x112, got 96x96"):
        decode_images([make_jpeg(0), make_jpeg(1, side=96)])
    with pytest.raises(ImageError, match="image 0 must be 112x112, got 96x96"):
        decode_images([make_jpeg(0, side=96)], size=(112, 112))


def test_a_forged_size_is_refused_before_decoding(
    make_png: Callable[..., bytes], make_jpeg: Callable[..., bytes]
) -> None:
    png = bytearray(make_png(0))
    png[16:24] = struct.pack(">II", 60000, 60000)
    jpeg = make_jpeg(0)
    at = jpeg.index(b"\xff\xc0")
    jpeg = jpeg[: at + 5] + b"\xff\xdc\xff\xdc" + jpeg[at + 9 :]
    for data, side in ((bytes(png), 60000), (jpeg, 65500)):
        with pytest.raises(ImageError, match=f"must be 112x112, got {side}x{side}"):
            decode_images([data], size=(112, 112))
        with pytest.raises(ImageError, match="16384 pixels a side"):
            decode_images([data])


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        decode_images([])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photographs_are_turned_upright_as_their_exif_says(make_picture: Callable, kind: str, orientation: int) -> None:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(make_picture(3)[:, :80].permute(1, 2, 0).numpy()).save(stream, kind, exif=exif, quality=95)
    upright = ImageOps.exif_transpose(Image.open(stream)).convert("RGB")
    (found,) = decode_images([stream.getvalue()])
    assert tuple(found.shape) == (3, upright.height, upright.width)
    difference = np.abs(found.permute(1, 2, 0).numpy().astype(int) - np.asarray(upright).astype(int))
    assert difference.max() <= 2  # of two decoders; a wrong turn is tens off
