"""Decodes batches of encoded images into one uint8 tensor: JPEG, PNG, WebP, BMP, TIFF, of any colour mode, upright as
their EXIF says.

Shapes: B faces, H x W pixels. Images come out as RGB, uint8.
"""

import io
import re
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, decode_png

from transface.images.fit import Fit, ImageSizeError, fit_image, placement
from transface.images.headers import EXIF, JPEG, PNG, image_size, open_other

# torchvision 0.29 announces that its decoders will move to another package; they are called from this file alone.
warnings.filterwarnings("ignore", message=r"(?s).*TorchCodec.*")

EXIF_WITHIN = 256
BIT_DEPTH_AT = 24  # of a PNG: signature, length and name of its header, width, height
LARGEST_SIDE = 16384  # of an image whose size is not prescribed
LARGEST_AREA = 80 << 20  # pixels; decoded they take three bytes each


class ImageError(ValueError):
    """An image cannot be decoded or has another size; `index` is its place in the batch."""

    def __init__(self, message: str, *, index: int = -1) -> None:
        super().__init__(message)
        self.index = index


def decode_images(
    encoded: Sequence[bytes | memoryview],
    *,
    size: tuple[int, int] | None = None,
    names: Sequence[object] | None = None,
    device: torch.device | str = "cpu",
    fit: Fit = "refuse",
) -> Tensor:
    """Return (B, 3, H, W) uint8 RGB: all images of a batch, of any kind and colour mode, decoded, upright as their EXIF
    says.

    A photograph that its EXIF turns by a quarter has H and W exchanged: the points that a detector gave are those of
    the upright one. In memory they lie as the decoder leaves them, the channel last (torch.channels_last): turning them
    round costs an eighth of the decoding here, and nothing worth mentioning on the device.

    Args:
        encoded: B images as bytes (anything with the buffer of uint8 will do).
        size: the (H, W) they must have; by default that of the first.
        names: what an error calls each image, e.g. its key; by default its place in the batch.
        device: where the images end up. On a CUDA device the JPEGs are decoded there.
        fit: what happens to images of another size; see `images.fit`.

    Raises:
        ImageError: naming the first image that cannot be decoded, or has a size that `fit` does not allow.
    """
    images = [image if isinstance(image, bytes | memoryview) else bytes(image) for image in encoded]
    if not images:
        raise ValueError("there are no images to decode")
    size = check_sizes(images, size, names, fit=fit)
    device = torch.device(device)
    tensors = torch.frombuffer(bytearray().join(images), dtype=torch.uint8).split([len(image) for image in images])
    jpegs = [index for index, image in enumerate(images) if image[:3] == JPEG]
    if device.type != "cpu" and any(EXIF in bytes(images[index][:EXIF_WITHIN]) for index in jpegs):
        return decode_images(images, size=size, names=names, fit=fit).to(
            device
        )  # a device's decoder knows nothing of EXIF
    rest = [index for index, image in enumerate(images) if image[:3] != JPEG]
    try:
        decoded: dict[int, Tensor] = {}
        if jpegs:
            decoded.update(zip(jpegs, _decode_jpegs([tensors[i] for i in jpegs], device), strict=True))
        for i in rest:
            decoded[i] = _decode_one(tensors[i]).to(device)
        if fit != "refuse" and len({image.shape for image in decoded.values()}) > 1:
            decoded = {i: fit_image(image, size, fit=fit) for i, image in decoded.items()}
        batch = torch.stack([decoded[i].permute(1, 2, 0) for i in range(len(images))]).permute(0, 3, 1, 2)
        return batch if fit == "refuse" else fit_image(batch, size, fit=fit)  # of one size: all at once
    except torch.OutOfMemoryError:
        raise
    except (
        RuntimeError,
        ValueError,
        OSError,
        SyntaxError,
        TypeError,
        KeyError,
        IndexError,
    ):  # Pillow's plugins raise all of these
        _raise_for_broken(tensors, size=size, names=names, fit=fit)
        if device.type == "cpu":
            raise
        return decode_images(images, size=size, names=names, fit=fit).to(
            device
        )  # a device's decoder knows fewer kinds of JPEG


def decode_image(encoded: bytes | memoryview, *, name: object = "0") -> Tensor:
    """Return one image of any size and kind, (3, H, W) uint8 RGB, upright.

    Raises:
        ImageError: as `decode_images`.
    """
    return decode_images([encoded], names=[name])[0]


def check_sizes(
    images: Sequence[bytes | memoryview],
    size: tuple[int, int] | None,
    names: Sequence[object] | None,
    *,
    fit: Fit = "refuse",
) -> tuple[int, int]:
    """Return the size a batch will have, from the headers alone: a forged one must not make the decoder take gigabytes.

    Raises:
        ImageError: naming the first image of no known kind, or of a size that `fit` does not allow.
    """
    for index, image in enumerate(images):
        try:
            found = image_size(image)
        except ValueError as error:
            raise ImageError(f"{_name(index, names)} cannot be decoded: {error}", index=index) from None
        if found == size:
            continue
        if size is None or fit != "refuse":
            _check_limits(found, index, names)
        if size is None:
            size = found
        try:
            placement(found, size, fit=fit, name=_name(index, names))
        except ImageSizeError as error:
            raise ImageError(str(error), index=index) from None
    assert size is not None
    return size


def _check_limits(found: tuple[int, int], index: int, names: Sequence[object] | None) -> None:
    height, width = found
    if not (min(found) > 0 and max(found) <= LARGEST_SIDE and height * width <= LARGEST_AREA):
        limits = f"1 to {LARGEST_SIDE} pixels a side and at most {LARGEST_AREA >> 20} million pixels"
        raise ImageError(
            f"{_name(index, names)} must be of {limits}, got {height}x{width}: make it smaller first", index=index
        )


def _decode_jpegs(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    decoded = decode_jpeg(encoded, ImageReadMode.RGB, device, apply_exif_orientation=device.type == "cpu")
    assert isinstance(decoded, list)
    return decoded


def _decode_one(encoded: Tensor) -> Tensor:
    start = encoded[:8].numpy().tobytes()
    if start[:3] == JPEG:
        return _decode_jpegs([encoded], torch.device("cpu"))[0]
    if start == PNG:
        return _decode_png(encoded)
    with open_other(encoded.numpy().tobytes()) as picture:
        return pixels_of(ImageOps.exif_transpose(picture))


def _decode_png(encoded: Tensor) -> Tensor:
    """Return the pixels of a PNG. Pillow reads it: torchvision's decoder ends the process on some broken files."""
    data = encoded.numpy().tobytes()
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        pixels = pixels_of(ImageOps.exif_transpose(picture))
    if data[BIT_DEPTH_AT] != 16:
        return pixels
    image = decode_png(encoded, ImageReadMode.RGB, apply_exif_orientation=True)  # whole, as Pillow has read it
    return image if image.dtype == torch.uint8 else (image.to(torch.int32) // 257).to(torch.uint8)


def pixels_of(picture: Image.Image) -> Tensor:
    """Return the (3, H, W) uint8 RGB pixels of a PIL image of any mode; 16 bits of grey become 8, alpha is left out.

    Raises:
        ValueError: if its values are floats, whose range nothing tells.
    """
    if picture.mode == "F":
        raise ValueError("an image of floats (mode F) does not say its range: give an array in [-1, 1]")
    if picture.mode.startswith("I"):
        grey = np.asarray(picture).astype(np.int64)
        deep = grey // 257 if picture.mode != "I" or grey.max(initial=0) > 255 else grey
        picture = Image.fromarray(deep.clip(0, 255).astype(np.uint8))
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def _reason(error: Exception) -> str:
    """Return a decoder's words without the place in its source that torchvision puts before them."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r"^\w+, \S+\.(cpp|h|cu):\d+, ", "", text)


def _raise_for_broken(
    tensors: Sequence[Tensor], *, size: tuple[int, int], names: Sequence[object] | None, fit: Fit
) -> None:
    for index, tensor in enumerate(tensors):
        try:
            image = _decode_one(tensor)
        except (RuntimeError, ValueError, OSError, SyntaxError, TypeError, KeyError, IndexError) as error:
            reason = _reason(error)
            raise ImageError(f"{_name(index, names)} cannot be decoded: {reason}", index=index) from None
        try:
            placement((image.shape[1], image.shape[2]), size, fit=fit, name=_name(index, names))
        except ImageSizeError as error:
            raise ImageError(str(error), index=index) from None


def _name(index: int, names: Sequence[object] | None) -> str:
    return f"image {index}" if names is None else f"image {names[index]}"
