"""Where faces to embed come from: encoded images in memory, or image files, read and decoded a batch at a time.

Shapes: M images, B of them in a batch, H x W the size a backbone takes. Batches are RGB, uint8.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transface.images.decoding import decode_images
from transface.images.files import files_below

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class FaceSource(Protocol):
    """M faces that can be read in batches from several threads at once.

    Attributes:
        name: of the set, for messages and the cache.
    """

    name: str

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the faces at `indices`, (B, 3, H, W) uint8; raises ValueError naming one that is no image of that size."""
        ...

    def thumbnail(self, index: int) -> bytes:
        """Return one face as JPEG or PNG bytes, for reports."""
        ...

    def fingerprint(self) -> str:
        """Return a SHA-256 that changes if any image or their order does."""
        ...


class EncodedFaces:
    """Faces held as encoded bytes (JPEG, PNG), e.g. those of a pair set: a tenth of the memory of pixels."""

    def __init__(self, name: str, images: Sequence[bytes | NDArray[np.uint8]]) -> None:
        self.name, self.images = name, images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the decoded faces; see FaceSource."""
        names = [f"{index} of {self.name}" for index in indices]
        return decode_images([bytes(self.images[index]) for index in indices], size=size, names=names)

    def thumbnail(self, index: int) -> bytes:
        """Return the encoded face as it is."""
        return bytes(self.images[index])

    def fingerprint(self) -> str:
        """Return the hash of all bytes."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(len(image).to_bytes(8, "little"))
            digest.update(image)  # type: ignore[arg-type]
        return digest.hexdigest()


class FaceFiles:
    """Aligned faces in image files."""

    def __init__(self, name: str, paths: Sequence[str | Path]) -> None:
        self.name, self.paths = name, [str(path) for path in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the decoded faces; see FaceSource."""
        paths = [self.paths[index] for index in indices]
        return decode_images([read_bytes(path) for path in paths], size=size, names=paths)

    def thumbnail(self, index: int) -> bytes:
        """Return the file's bytes."""
        return read_bytes(self.paths[index])

    def fingerprint(self) -> str:
        """Return the hash of the paths and file sizes (not of the bytes: half a million files would take minutes)."""
        return hash_files(self.paths)


def hash_files(paths: Sequence[str]) -> str:
    """Return a SHA-256 over file names and sizes, in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{Path(path).name}\0{Path(path).stat().st_size}\0".encode())
    return digest.hexdigest()


def read_bytes(path: str) -> bytes:
    """Return a file's bytes; raises FileNotFoundError naming it."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no image {path}") from error
    return data


def list_images(folder: str | Path) -> list[Path]:
    """Return the image files of a folder, at any depth, behind links too, sorted; names that begin with a dot are passed over.

    Raises:
        FileNotFoundError: if the folder is missing or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    found = sorted(folder / name for name in files_below(folder) if name.lower().endswith(IMAGE_SUFFIXES))
    if not found:
        raise FileNotFoundError(f"no .jpg or .png images in {folder}")
    return found
