"""Decodes batches of JPEG and PNG bytes into one uint8 tensor.

Shapes: B faces, H x W pixels. Images come out as RGB, uint8.
"""

import struct
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, decode_png

# torchvision 0.29 announces that its decoders will move to another package; they are called from this file alone.
warnings.filterwarnings("ignore", message=r"(?s).*TorchCodec.*")

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
EXIF, EXIF_WITHIN = b"Exif\0\0", 256
LARGEST_SIDE = 8192  # of an image whose size is not prescribed


class ImageError(ValueError):
    """An image cannot be decoded or has another size; `index` is its place in the batch."""

    def __init__(self, message: str, *, index: int = -1) -> None:
        super().__init__(message)
        self.index = index


def image_size(encoded: bytes | memoryview) -> tuple[int, int]:
    """Return (height, width) as the header of a JPEG or PNG states them, nothing being decoded.

    Raises:
        ValueError: if these are not the bytes of a JPEG or PNG image.
    """
    if encoded[:3] == JPEG:
        return _jpeg_size(encoded)
    if encoded[:8] == PNG and len(encoded) >= 24 and encoded[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", encoded, 16)
        return height, width
    raise ValueError(f"neither JPEG nor PNG: {len(encoded)} bytes that begin with {encoded[:8].hex() or 'nothing'}")


def _jpeg_size(encoded: bytes | memoryview) -> tuple[int, int]:
    at, end = 2, len(encoded) - 9
    while at <= end:
        marker = encoded[at + 1]
        if encoded[at] != 0xFF:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(encoded[at + 5 : at + 7]), int.from_bytes(encoded[at + 7 : at + 9])
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # padding, and markers that carry nothing
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
    raise ValueError(f"a JPEG without its size: {len(encoded)} bytes")


def decode_images(
    encoded: Sequence[bytes | memoryview],
    *,
    size: tuple[int, int] | None = None,
    names: Sequence[object] | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return (B, 3, H, W) uint8 RGB: all images of a batch, JPEG and PNG, grey and colour, decoded, upright as their EXIF says.

    A photograph that its EXIF turns by a quarter has H and W exchanged: the points that a detector gave are those of the upright one.
    In memory they lie as the decoder leaves them, the channel last (torch.channels_last): turning them round costs an eighth of the
    decoding here, and nothing worth mentioning on the device.

    Args:
        encoded: B images as bytes (anything with the buffer of uint8 will do).
        size: the (H, W) they must have; by default that of the first.
        names: what an error calls each image, e.g. its key; by default its place in the batch.
        device: where the images end up. On a CUDA device the JPEGs are decoded there.

    Raises:
        ImageError: naming the first image that cannot be decoded or has another size.
    """
    images = [image if isinstance(image, bytes | memoryview) else bytes(image) for image in encoded]
    if not images:
        raise ValueError("there are no images to decode")
    size = check_sizes(images, size, names)
    device = torch.device(device)
    tensors = torch.frombuffer(bytearray().join(images), dtype=torch.uint8).split([len(image) for image in images])
    jpegs = [index for index, image in enumerate(images) if image[:3] == JPEG]
    if device.type != "cpu" and any(EXIF in bytes(images[index][:EXIF_WITHIN]) for index in jpegs):
        return decode_images(images, size=size, names=names).to(device)  # a device's decoder knows nothing of EXIF
    pngs = [index for index, image in enumerate(images) if image[:3] != JPEG]
    try:
        decoded: dict[int, Tensor] = {}
        if jpegs:
            decoded.update(zip(jpegs, _decode_jpegs([tensors[i] for i in jpegs], device), strict=True))
        for i in pngs:
            decoded[i] = _decode_png(tensors[i]).to(device)
        return torch.stack([decoded[i].permute(1, 2, 0) for i in range(len(images))]).permute(0, 3, 1, 2)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        _raise_for_broken(tensors, jpegs=set(jpegs), size=size, names=names)
        if device.type == "cpu":
            raise
        return decode_images(images, size=size, names=names).to(device)  # a device's decoder knows fewer kinds of JPEG


def check_sizes(images: Sequence[bytes | memoryview], size: tuple[int, int] | None, names: Sequence[object] | None) -> tuple[int, int]:
    """The sizes stated in the headers, looked at first: a forged one must not make the decoder take gigabytes."""
    for index, image in enumerate(images):
        try:
            found = image_size(image)
        except ValueError as error:
            raise ImageError(f"{_name(index, names)} cannot be decoded: {error}", index=index) from None
        if size is None:
            size = found
            if not 0 < max(size) <= LARGEST_SIDE:
                raise ImageError(f"{_name(index, names)} must be at most {LARGEST_SIDE} pixels a side, got {size}", index=index)
        if found != size:
            raise ImageError(f"{_name(index, names)} must be {size[0]}x{size[1]}, got {found[0]}x{found[1]}", index=index)
    assert size is not None
    return size


def _decode_jpegs(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    decoded = decode_jpeg(encoded, ImageReadMode.RGB, device, apply_exif_orientation=device.type == "cpu")
    assert isinstance(decoded, list)
    return decoded


def _decode_png(encoded: Tensor) -> Tensor:
    image = decode_png(encoded, ImageReadMode.RGB, apply_exif_orientation=True)
    return image if image.dtype == torch.uint8 else (image.to(torch.int32) // 257).to(torch.uint8)  # 16 bits a colour


def _raise_for_broken(tensors: Sequence[Tensor], *, jpegs: set[int], size: tuple[int, int], names: Sequence[object] | None) -> None:
    for index, tensor in enumerate(tensors):
        try:
            image = _decode_jpegs([tensor], torch.device("cpu"))[0] if index in jpegs else _decode_png(tensor)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ImageError(f"{_name(index, names)} cannot be decoded: {reason}", index=index) from None
        if tuple(image.shape) != (3, *size):
            raise ImageError(f"{_name(index, names)} must be {size[0]}x{size[1]}, got {tuple(image.shape[1:])}", index=index)


def _name(index: int, names: Sequence[object] | None) -> str:
    return f"image {index}" if names is None else f"image {names[index]}"
