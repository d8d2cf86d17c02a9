"""Float pixels are held against [-1, 1] at the door, with points and without."""

import io
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from transface.images.alignment import template_points
from transface.images.user_images import as_pictures, batches_of_faces, read_picture
from transface.images.user_points import aligned_batches


def by_size(images: object) -> Tensor:
    return torch.cat(list(batches_of_faces(images, (112, 112), batch_size=2)))


def by_points(images: object) -> Tensor:
    count = len(images) if isinstance(images, list) or images.ndim == 4 else 1
    points = template_points().expand(count, -1, -1)
    return torch.cat(list(aligned_batches(images, points, (112, 112), batch_size=2)))


def unit_range() -> np.ndarray:
    return np.random.default_rng(0).random((3, 112, 112, 3), dtype=np.float32)


@pytest.mark.parametrize("read", [by_size, by_points])
@pytest.mark.parametrize("give", [list, torch.from_numpy, lambda x: x, lambda x: x.astype(np.float64), lambda x: x[0]])
def test_floats_that_look_like_zero_to_one_are_warned_of(read: Callable, give: Callable) -> None:
    with pytest.warns(UserWarning, match=r"they look like \[0, 1\], and are taken as \[-1, 1\]"):
        read(give(unit_range()))


@pytest.mark.parametrize("read", [by_size, by_points])
def test_floats_of_pixels_are_refused(read: Callable) -> None:
    with pytest.raises(ValueError, match=r"float images must be in \[-1, 1\], got .*255"):
        read(np.round(unit_range() * 255))


@pytest.mark.parametrize("read", [by_size, by_points])
def test_uint8_and_floats_that_go_below_zero_are_not_warned_of(read: Callable) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        read(unit_range() * 2 - 1)
        read((unit_range() * 255).astype(np.uint8))
        as_pictures(np.full((112, 112, 3), 0.5, np.float32))  # a plain picture says nothing
        as_pictures(np.empty((0, 112, 112, 3), np.float32))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turned", [1, 2, 3, 6, 8])
def test_a_picture_opened_by_pillow_is_upright_like_its_file(kind: str, turned: int) -> None:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = turned
    noise = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    by_bytes, by_pillow = read_picture(stream.getvalue()), read_picture(Image.open(stream))
    assert by_pillow.shape == by_bytes.shape
    assert (by_pillow.float() - by_bytes.float()).abs().max() <= (2 if kind == "JPEG" else 0)
    once = ImageOps.exif_transpose(Image.open(stream))
    assert torch.equal(read_picture(once), by_pillow)  # already upright: not turned again


def test_one_picture_of_a_batch_in_the_wrong_range_is_warned_of() -> None:
    batch = np.stack([unit_range() * 2 - 1, unit_range()]).reshape(-1, *unit_range().shape[-3:]).astype(np.float32)
    with pytest.warns(UserWarning, match=r"they look like \[0, 1\]"):
        as_pictures(batch)
