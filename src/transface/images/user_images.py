"""Turns what a user calls images (paths, bytes, PIL, NumPy, tensors; one or many) into batches of faces for a backbone.

Shapes: B faces of a batch, N faces in all, H x W the size the backbone takes. Batches are RGB: uint8 in 0..255 or float
in [-1, 1].
"""

import os
import warnings
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from transface.images.decoding import ImageError, decode_image, decode_images, pixels_of
from transface.images.fit import Fit, ImageSizeError, advice, check_fit, fit_image
from transface.images.pixels import normalised

Colours = Literal["rgb", "bgr"]
FLOAT_SLACK = 0.01  # of resampling, beyond [-1, 1]
LOOKS_LIKE_UNIT_RANGE = (
    "float images hold no negative number: they look like [0, 1], and are taken as [-1, 1]; give uint8, or 2 * x - 1"
)


def batches_of_faces(
    images: Any, size: tuple[int, int], *, batch_size: int, colours: Colours = "rgb", fit: Fit = "refuse"
) -> Iterator[Tensor]:
    """Yield batches (B, 3, H, W), uint8 or float, of at most `batch_size` faces, in order; files are read as they are
    needed.

    Args:
        images: one or many of: path, encoded bytes, PIL image (upright as its EXIF says, like a file), array or tensor
            (H, W, 3) or (3, H, W); or an array of all (N, ...). uint8 arrays are in 0..255, float ones in [-1, 1].
        size: (H, W) the faces must have.
        colours: the order of the channels in arrays and tensors; files and PIL images know their own.
        fit: what to do with a face of another size, see `images.fit`; no alignment is done.

    Raises:
        ValueError: naming the first image that is no face of that size.
        FileNotFoundError: if a path is not there.
    """
    if colours not in ("rgb", "bgr"):
        raise ValueError(f'colours must be "rgb" or "bgr", got {colours!r}')
    check_fit(fit)
    if is_array(images) and images.ndim > 1:
        stack = as_pictures(images, colours=colours)
        for start in range(0, len(stack), batch_size):
            yield fitted(stack[start : start + batch_size], size, fit=fit, name=f"images[{start}]")
        return
    position = 0
    for group in in_groups(many(images), batch_size):
        yield _batch(group, size, colours=colours, fit=fit, first=position)
        position += len(group)


def many(images: Any) -> Iterable[Any]:
    """Return an iterable of images; one image becomes a list of one."""
    if is_array(images):
        return [images] if images.ndim == 1 else list(as_pictures(images, colours="rgb"))
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return [images]
    if not isinstance(images, Iterable) or hasattr(images, "read"):
        raise ValueError(
            f"images must be paths, encoded bytes, PIL images, arrays or tensors, got {type(images).__name__}"
        )
    return images


def is_array(images: Any) -> TypeGuard[Tensor | NDArray[Any]]:
    """Return whether these are numbers in an array or a tensor; arrays of names or of objects are lists of images."""
    return isinstance(images, Tensor) or (isinstance(images, np.ndarray) and images.dtype.kind not in "OUS")


def in_groups(items: Iterable[Any], group_size: int) -> Iterator[list[Any]]:
    """Yield lists of at most `group_size` items."""
    stream = iter(items)
    while group := list(islice(stream, group_size)):
        yield group


def read_picture(image: Any, *, colours: Colours = "rgb", name: str = "the image") -> Tensor:
    """Return one image of any size as (3, H, W) RGB, uint8 or float in [-1, 1].

    Raises:
        ValueError, FileNotFoundError: as `batches_of_faces`.
    """
    encoded = encoded_bytes(image)
    if encoded is not None:
        return _decode_one(encoded, name=_name(image, name))
    if isinstance(image, Image.Image):
        return pixels_of(ImageOps.exif_transpose(image))  # Pillow opens a file as it is stored
    pictures = as_pictures(image, colours=colours, name=name)
    if len(pictures) != 1:
        raise ValueError(f"{name} must be one image, got an array of {len(pictures)}")
    return pictures[0]


def encoded_bytes(image: Any) -> bytes | None:
    """Return the bytes of an image file, given as a path, bytes or an array of them; None if it is none of these."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 1:
        return image.tobytes()
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 1:
        return image.cpu().numpy().tobytes()
    if not isinstance(image, str | os.PathLike):
        return None
    path = Path(os.fsdecode(image))
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected an image file: 'transface embed images={path}' embeds a folder")
    if not path.is_file():
        raise FileNotFoundError(f"no image at {path}")
    return path.read_bytes()


class ContentMark(NamedTuple):
    """What tells a file from another of its name: the number of its bytes, and their CRC-32 in hexadecimal."""

    num_bytes: str
    crc32: str


def content_mark(encoded: bytes) -> ContentMark:
    """Return the mark of a file's bytes."""
    return ContentMark(str(len(encoded)), f"{zlib.crc32(encoded):08x}")


def as_pictures(array: Any, *, colours: Colours = "rgb", name: str = "images") -> Tensor:
    """Return an array or tensor of one or many images as (N, 3, H, W) RGB, uint8 or float; channels may come first or
    last.

    Raises:
        ValueError: if the shape or the type is not that of images.
    """
    if not isinstance(array, Tensor | np.ndarray):
        raise ValueError(
            f"{name} must be paths, encoded bytes, PIL images, arrays or tensors, got {type(array).__name__}"
        )
    shape = tuple(array.shape)
    if isinstance(array, np.ndarray):
        if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"{name} must be uint8 in 0..255 or float in [-1, 1], got {array.dtype}")
        dtype = np.uint8 if array.dtype == np.uint8 else np.float32
        array = torch.from_numpy(np.require(array, dtype, requirements=["C", "W"]))
    if array.dtype != torch.uint8:
        if not array.dtype.is_floating_point:
            raise ValueError(f"{name} must be uint8 in 0..255 or float in [-1, 1], got {array.dtype}")
        array = array.float()
        check_range(array, name=name)
    if array.ndim == 2:
        array = array[None].expand(3, -1, -1)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or not {1, 3} & {array.shape[1], array.shape[3]}:
        raise ValueError(f"{name} must be (H, W, 3), (3, H, W) or many of them, got shape {shape}")
    if array.shape[1] != 3 and (array.shape[3] == 3 or array.shape[1] != 1):
        array = array.permute(0, 3, 1, 2)
    array = array.expand(-1, 3, -1, -1)  # of grey pictures with one channel
    return array.flip(1) if colours == "bgr" else array


def check_range(pixels: Tensor, *, name: str) -> None:
    """Hold float pixels against [-1, 1]: beyond it they are refused, within [0, 1] warned of.

    Raises:
        ValueError: with the range that came.
    """
    if not pixels.numel():
        return
    if pixels.ndim == 4:  # of several, one may be what the others are not
        for one in pixels:
            check_range(one, name=name)
        return
    low, high = (float(value) for value in pixels.aminmax())
    if not (low >= -1 - FLOAT_SLACK and high <= 1 + FLOAT_SLACK):
        raise ValueError(
            f"{name}: float images must be in [-1, 1], got {low:g}..{high:g}: give uint8, or x / 127.5 - 1"
        )
    if low >= 0 and high > low:  # a plain picture says nothing
        warnings.warn(LOOKS_LIKE_UNIT_RANGE, stacklevel=2)  # one text, so that it is shown once


def fitted(faces: Tensor, size: tuple[int, int], *, fit: Fit, name: str) -> Tensor:
    """Return faces (B, 3, H, W) at `size`, as `fit` says."""
    found = (faces.shape[-2], faces.shape[-1])
    if found == tuple(size):
        return faces
    if fit == "refuse":
        raise ImageSizeError(
            f"{name} is {found[0]}x{found[1]}, the model takes aligned faces of {size[0]}x{size[1]}: "
            "give its five points (points=) or have the face found (detector=mtcnn in a command, transface.faces in"
            f" Python); {advice(found, (size[0], size[1]))}"
        )
    faces = fit_image(faces, (size[0], size[1]), fit=fit, name=name)
    return faces if faces.dtype == torch.uint8 else faces.clamp(-1, 1)


def joined(faces: list[Tensor]) -> Tensor:
    """Return faces (3, H, W) as one batch; where some are float all become float in [-1, 1]."""
    if all(face.dtype == torch.uint8 for face in faces):
        return torch.stack(faces)
    return torch.stack([normalised(face) for face in faces])


def _batch(group: list[Any], size: tuple[int, int], *, colours: Colours, fit: Fit, first: int) -> Tensor:
    encoded = [encoded_bytes(image) for image in group]
    names = [_name(image, f"images[{first + index}]") for index, image in enumerate(group)]
    files = [image for image in encoded if image is not None]
    if len(files) == len(group):
        try:
            return decode_images(files, size=size, names=names, fit=fit)
        except ImageError:
            pass  # one by one, for an error that says what to do
    faces = []
    for image, content, name in zip(group, encoded, names, strict=True):
        picture = (
            _decode_one(content, name=name) if content is not None else read_picture(image, colours=colours, name=name)
        )
        faces.append(fitted(picture[None], size, fit=fit, name=name)[0])
    return joined(faces)


def _decode_one(encoded: bytes, *, name: str) -> Tensor:
    try:
        return decode_image(encoded, name=name)
    except ImageError as error:
        raise ValueError(str(error)) from error


def _name(image: Any, otherwise: str) -> str:
    return os.fsdecode(image) if isinstance(image, str | os.PathLike) else otherwise
