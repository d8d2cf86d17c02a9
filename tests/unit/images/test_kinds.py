"""Every kind of image file and colour mode gives the same pixels, and what is none says what it is."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transface.images.decoding import ImageError, decode_image, decode_images
from transface.images.files import list_images
from transface.images.headers import image_size
from transface.images.user_images import batches_of_faces, read_picture


def picture(height: int = 40, width: int = 48) -> Image.Image:
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(30, 220, (5, 6, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **words: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **words)
    return stream.getvalue()


LOSSLESS = [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]


@pytest.mark.parametrize(("kind", "words"), LOSSLESS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_every_lossless_kind_gives_the_same_pixels(kind: str, words: dict[str, object], mode: str) -> None:
    image = picture().convert(mode)
    expected = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(decode_image(saved(image, kind, **words)), expected)


def test_all_kinds_decode_in_one_batch_in_their_places() -> None:
    image = picture()
    files = [saved(image, kind, **words) for kind, words in [*LOSSLESS, ("JPEG", {"quality": 100, "subsampling": 0})]]
    decoded = decode_images(files[::-1])
    exact = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert (decoded[0].int() - exact.int()).abs().max() <= 4
    assert all(torch.equal(one, exact) for one in decoded[1:])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_the_colours_pillow_shows(kind: str) -> None:
    data = saved(picture().convert("CMYK"), kind)
    expected = torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)
    assert (decode_image(data).int() - expected.int()).abs().max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_become_eight(kind: str) -> None:
    grey = np.array([[0, 257 * 100, 65535]] * 2, dtype=np.uint16)
    assert decode_image(saved(Image.fromarray(grey), kind))[0].tolist() == [[0, 100, 255]] * 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_picture_has_the_size_of_the_upright_one(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture(40, 64), kind, exif=exif)
    upright = (40, 64) if orientation in (1, 3) else (64, 40)
    assert image_size(data) == upright
    assert decode_images([data], size=upright).shape == (1, 3, *upright)


def test_paths_bytes_and_batches_agree(tmp_path: Path) -> None:
    image = picture(112, 112)
    for ending, kind in (("bmp", "BMP"), ("webp", "WEBP"), ("tif", "TIFF")):
        image.save(tmp_path / f"a.{ending}", kind, **({"lossless": True} if kind == "WEBP" else {}))
    found = list_images(tmp_path)
    assert found.names == ["a.bmp", "a.tif", "a.webp"]
    (batch,) = batches_of_faces(found.paths, (112, 112), batch_size=8)
    for row, path in zip(batch, found.paths, strict=True):
        assert torch.equal(row, read_picture(path))
        assert torch.equal(row, decode_image(path.read_bytes()))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GIF89a" + b"\0" * 40, "a GIF: convert it to PNG"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer, not the image: 'git lfs pull' fetches it",
        ),
        (b"<html><body>not found</body></html>", "a web page or SVG"),
        (b"", "the file is empty"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 30, "HEIC or AVIF"),
        (b"nonsense, long enough to be anything", "36 bytes that begin with 6e6f6e73"),
    ],
)
def test_what_is_no_image_says_what_it_is(data: bytes, what: str) -> None:
    with pytest.raises(ImageError, match=what):
        decode_image(data, name="x.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_file_is_named(kind: str) -> None:
    good = saved(picture(60, 60), kind)
    with pytest.raises(ImageError, match="image b cannot be decoded"):
        decode_images([good, good[: len(good) // 2]], names=["a", "b"])


def test_a_forged_size_of_another_kind_is_refused_before_decoding() -> None:
    data = bytearray(saved(picture(), "BMP"))
    for width, height in ((30000, 30000), (17000, 100)):
        data[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
        with pytest.raises(ImageError, match=r"too large a size|16384 pixels a side"):
            decode_image(bytes(data))


@pytest.mark.parametrize("fit", ["letterbox", "center_crop", "stretch"])
def test_pictures_of_many_sizes_become_one_batch(fit: str) -> None:
    files = [saved(picture(50, 40), "JPEG"), saved(picture(30, 90), "PNG"), saved(picture(200, 100), "BMP")]
    assert decode_images(files, size=(48, 32), fit=fit).shape == (3, 3, 48, 32)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="image 1 is 30x90, and resizing it to 48x38 would distort it") as caught:
        decode_images(files, size=(48, 38), fit="resize")
    assert caught.value.index == 1
