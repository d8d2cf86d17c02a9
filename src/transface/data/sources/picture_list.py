"""Opens whatever holds pictures to look at: a picture, a folder, a list, a pair set, a pack; each has a name and can be
read.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from transface.data.benchmarks.pairs import read_pair_set
from transface.data.sources.identity_pack import IdentityPack
from transface.images.files import list_images, log_unread


class PictureList(Protocol):
    """Pictures by name: `images.files.ImageList` (files), or PackedPictures.

    Attributes:
        root: what holds them.
        names: of the pictures.
    """

    @property
    def root(self) -> Path: ...

    @property
    def names(self) -> list[str]: ...

    def picture(self, name: str) -> Path | bytes:
        """Return the path of a picture, or its encoded bytes."""
        ...

    def files(self) -> list[Path]:
        """Return the files that hold the pictures: what changes with them."""
        ...


class PackedPictures:
    """The pictures of a pack, named after their keys, or of a pair set, named after their places."""

    def __init__(self, path: str | Path) -> None:
        self.root = Path(path)
        if self.root.suffix == ".bin":
            images = [bytes(image) for image in read_pair_set(self.root).images]
            self.names = [str(index) for index in range(len(images))]
            self._read: Callable[[int], bytes] = images.__getitem__
            self._files = [self.root]
        else:
            pack = IdentityPack(self.root)
            self.names = [str(pack.key(index)) for index in range(len(pack))]
            self._read = lambda index: bytes(pack.encoded(index))
            folder = self.root if self.root.is_dir() else self.root.parent
            self._files = sorted(file for file in folder.iterdir() if file.suffix in (".rec", ".idx"))
        self._places = {name: index for index, name in enumerate(self.names)}

    def picture(self, name: str) -> bytes:
        """Return a picture's encoded bytes."""
        return self._read(self._places[name])

    def files(self) -> list[Path]:
        """Return the files of the pack."""
        return self._files


def holds_packed_pictures(path: str | Path) -> bool:
    """Return whether a path is a pack (its folder or its .rec) or a pair set."""
    path = Path(path)
    return path.suffix in (".bin", ".rec") or (path / "train.rec").is_file()


def open_pictures(path: str | Path) -> PictureList:
    """Return the pictures that lie at a path.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it holds no pictures.
    """
    if holds_packed_pictures(path):
        return PackedPictures(path)
    images = list_images(path)
    log_unread(images.root, images.unread)
    return images


def all_pictures(pictures: PictureList, names: Sequence[str] | None = None) -> list[Path | bytes]:
    """Return the pictures of some names, by default all."""
    return [pictures.picture(name) for name in (pictures.names if names is None else names)]
