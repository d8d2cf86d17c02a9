"""Where faces to embed come from: encoded images in memory, or image files, read and decoded a batch at a time.

Shapes: M images, B of them in a batch, H x W the size a backbone takes. Batches are RGB, uint8.
"""

import contextlib
import hashlib
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import encode_png

from transface.images.decoding import ImageError, decode_image, decode_images
from transface.images.fit import Fit, ImageSizeError, check_fit, placement
from transface.images.headers import image_size, is_plain

HEADERS_READ = 4096  # of a list of many files
HEADER_BYTES = 1 << 16


class FaceSource(Protocol):
    """M faces that can be read in batches from several threads at once.

    Attributes:
        name: of the set, for messages and the cache.
    """

    name: str

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the faces at `indices`, (B, 3, H, W) uint8; raises ValueError naming one that is no image of that
        size.
        """
        ...

    def thumbnail(self, index: int) -> bytes:
        """Return one face as JPEG or PNG bytes, for reports."""
        ...

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes if any image or their order does."""
        ...


class EncodedImages:
    """Faces held as encoded bytes, e.g. those of a pair set: a tenth of the memory of pixels.

    Args:
        fit: what happens to images of another size; see `images.fit`.
    """

    def __init__(self, name: str, images: Sequence[bytes | NDArray[np.uint8]], *, fit: Fit = "refuse") -> None:
        self.name, self.images = name, images
        self.fit = check_fit(fit)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the decoded faces; see FaceSource."""
        names = [f"{index} of {self.name}" for index in indices]
        return decode_images([bytes(self.images[index]) for index in indices], size=size, names=names, fit=self.fit)

    def check_headers(self, size: tuple[int, int]) -> None:
        """Hold the header of every image against a size; see `check_sizes`."""
        names = [f"{index} of {self.name}" for index in range(len(self))]
        check_sizes((bytes(image) for image in self.images), size, names=names, fit=self.fit)

    def thumbnail(self, index: int) -> bytes:
        """Return the encoded face as it is."""
        return bytes(self.images[index])

    def fingerprint(self) -> str:
        """Return the hash of all bytes, and of `fit` where it changes images."""
        digest = hashlib.sha256(b"" if self.fit == "refuse" else self.fit.encode())
        for image in self.images:
            digest.update(len(image).to_bytes(8, "little"))
            digest.update(image)  # type: ignore[arg-type]
        return digest.hexdigest()


class FaceFiles:
    """Faces in image files, aligned before, or fitted to the size asked for.

    Args:
        fit: what happens to images of another size; see `images.fit`.
    """

    def __init__(self, name: str, paths: Sequence[str | Path], *, fit: Fit = "refuse") -> None:
        self.name, self.paths = name, [str(path) for path in paths]
        self.fit = check_fit(fit)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the decoded faces; see FaceSource."""
        paths = [self.paths[index] for index in indices]
        return decode_images([read_bytes(path) for path in paths], size=size, names=paths, fit=self.fit)

    def check_headers(self, size: tuple[int, int]) -> None:
        """Hold the headers of the images against a size, of many those of some thousand; see `check_sizes`."""
        chosen = self.paths[:: max(1, len(self.paths) // HEADERS_READ)]
        check_sizes((_head(path) for path in chosen), size, names=chosen, fit=self.fit)

    def thumbnail(self, index: int) -> bytes:
        """Return the file's bytes, if a page shows them as they are, else a PNG of it."""
        data = read_bytes(self.paths[index])
        return data if is_plain(data) else encode_png(decode_image(data, name=self.paths[index])).numpy().tobytes()

    def fingerprint(self) -> str:
        """Return a hash that changes with the files or `fit`; see `hash_files`."""
        return hashlib.sha256(f"{hash_files(self.paths)} {self.fit}".encode()).hexdigest()


def check_sizes(
    images: Iterable[bytes], size: tuple[int, int], *, names: Sequence[object] | None = None, fit: Fit = "refuse"
) -> None:
    """Hold the headers of encoded images against a size, nothing being decoded.

    Raises:
        ImageError: naming the first that is no image of a known kind, or that `fit` does not bring to the size.
    """
    for index, image in enumerate(images):
        name = f"image {index}" if names is None else f"image {names[index]}"
        try:
            placement(image_size(image), size, fit=fit, name=name)
        except ImageSizeError as error:
            raise ImageError(str(error), index=index) from None
        except ValueError as error:
            raise ImageError(f"{name} cannot be decoded: {error}", index=index) from None


def _head(path: str) -> bytes:
    """Return the beginning of an image file that its header fits in; all of it where that is not enough."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(HEADER_BYTES)
            try:
                image_size(head)
            except (ValueError, struct.error):
                head += stream.read()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no image {path}") from error
    return head


def header_sizes(paths: Sequence[str | Path]) -> NDArray[np.float64]:
    """Return height and width (M, 2) of image files, by their headers; infinite where one tells none, and of many files
    those of some thousand are read.
    """
    sizes = np.full((len(paths), 2), np.inf)
    for place in range(0, len(paths), max(1, len(paths) // HEADERS_READ)):
        with contextlib.suppress(ValueError, OSError, struct.error):  # reading it says what is wrong
            sizes[place] = image_size(_head(str(paths[place])))
    return sizes


def hash_files(paths: Sequence[str]) -> str:
    """Return a SHA-256 over names, places and states of files, in order: it changes if any file is written, replaced or
    exchanged.

    Of the bytes a hash would take minutes for half a million files; size, times and inode change with them. Files that
    a tool copied are other files.
    """
    digest = hashlib.sha256()
    for path in paths:
        words: tuple[object, ...] = Path(path).parts[-3:]
        if Path(path).is_file():  # of one that is missing, reading it tells
            state = Path(path).stat()
            words = (*words, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        digest.update("\0".join(map(str, words)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def read_bytes(path: str) -> bytes:
    """Return a file's bytes; raises FileNotFoundError naming it."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no image {path}") from error
    return data
