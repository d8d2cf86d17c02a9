"""Lists the images of a folder and of the folders in it: one list of endings for every verb and loader."""

import codecs
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from transface.told_once import warn_once

log = logging.getLogger(__name__)

FOLDERS_LOOKED_INTO = 100  # of a root without lists, for one that has them
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
OTHER_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jp2", ".svg")  # pictures of kinds that are not read
LIST_SUFFIXES = (".txt", ".lst")
ALIGNED_MARK, ALIGNED_SHEET = ".align", "failed.jpg"  # in a folder of `transface align`: its mark, and what failed


def is_image_name(name: str) -> bool:
    """Return whether a file of this name should hold an image of a kind that is read."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_other_picture(name: str) -> bool:
    """Return whether a file of this name should hold a picture of a kind that is not read."""
    return name.lower().endswith(OTHER_SUFFIXES)


class ImageList(NamedTuple):
    """Images of a folder: where it lies, and the names in it, sorted; and those of pictures of kinds that are not
    read.
    """

    root: Path
    names: list[str]
    unread: tuple[str, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The path of each."""
        return [self.root / name for name in self.names]

    def picture(self, name: str) -> Path:
        """Return the path of one of the images."""
        return self.root / name

    def outside(self, folder: str | Path) -> "ImageList":
        """Return the images that do not lie in a folder within the root: where a verb writes pictures, those of its
        last run are none of its input.
        """
        within, root = os.path.realpath(folder) + os.sep, os.path.realpath(self.root)
        if f"{root}{os.sep}".startswith(within):
            return self
        places = {name: os.path.normpath(os.path.join(root, name)) for name in self.names}
        return self._replace(names=[name for name, place in places.items() if not place.startswith(within)])

    def files(self) -> list[Path]:
        """Return the files that hold the images: their paths."""
        return self.paths


def list_images(source: str | Path) -> ImageList:
    """Return the images of a folder, at any depth and behind links too, none that begins with a dot; or the one file;
    or those named in a text file (.txt, .lst), one a line, relative to its folder.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: if it holds no images.
    """
    source = Path(source)
    if source.is_dir():
        below = sorted(files_below(source))
        unread = tuple(name for name in below if is_other_picture(name))
        found = ImageList(source, [name for name in below if is_image_name(name)], unread)
    elif source.is_file() and source.suffix.lower() in LIST_SUFFIXES:
        lines = [name for line in list_lines(source) if (name := line.strip())]
        found = ImageList(source.parent, list(dict.fromkeys(lines)))
        if again := len(lines) - len(found.names):
            warn_once(log, "%s: %d of its %d lines name a picture again; each is taken once", source, again, len(lines))
    elif source.is_file():
        found = ImageList(source.parent, [source.name])
    else:
        raise FileNotFoundError(f"no folder of images at {source}")
    if not found.names:
        unread = found.unread
        instead = f"; {len(unread)} files are pictures of other kinds, {unread[0]} the first" if unread else ""
        raise ValueError(f"no images in {source}: expected files ending in {', '.join(IMAGE_SUFFIXES)}{instead}")
    return found


def log_unread(root: str | Path, unread: Sequence[str]) -> None:
    """Tell once how many pictures of a folder are of kinds that are not read, if any."""
    if unread:
        warn_once(
            log,
            "%s: left out, because their kind is not read (GIF, HEIC, ...): %d, %s the first; convert"
            " them to PNG or JPEG",
            root,
            len(unread),
            unread[0],
        )


def below(root: str | Path, name: str, *, source: object) -> str:
    """Return a name from a list, which must lie below the list's root.

    A list from elsewhere must not reach other files of this machine: they would be shown in reports and thumbnails.

    Raises:
        ValueError: for a name that leads out of the root, by `..` or because it is absolute.
    """
    if ".." not in name and not name.startswith(("/", "~", "\\")):
        return name
    whole, base = os.path.abspath(os.path.join(root, name)), os.path.abspath(root)
    if whole == base or whole.startswith(base.rstrip("/") + "/"):
        return name
    raise ValueError(
        f"{source} names {name!r}, which lies outside {root}: a list may name files below its root alone; give the"
        " folder above them as root (/ for absolute paths)"
    )


def require_images(folder: str | Path, names: Iterable[str], *, source: object, hint: str = "") -> None:
    """Raise where an image that a list names is not in its folder.

    Args:
        folder: what the names are relative to.
        names: of images.
        source: what lists them, as the message names it.
        hint: what to do, behind the message.

    Raises:
        FileNotFoundError: naming the first one that is missing, and how many others are.
    """
    if missing := [name for name in names if not os.path.isfile(os.path.join(folder, name))]:
        which = f"{missing[0]} and {len(missing) - 1} more" if len(missing) > 1 else missing[0]
        raise FileNotFoundError(
            f"{which} of {source} {'are' if len(missing) > 1 else 'is'} not in {folder}{hint and f': {hint}'}"
        )


def list_lines(path: str | Path) -> list[str]:
    """Return the lines of a text list, without their ends (of any system) and a byte order mark.

    Names in another encoding than UTF-8 keep their bytes, as the names of files on the disk do.

    Raises:
        ValueError: for UTF-16, as some editors write it.
    """
    content = Path(path).read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is UTF-16: save it as UTF-8")
    text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n") if text else []


def require_utf8(names: Sequence[str], *, kind: str) -> None:
    """Raise ValueError for a name that is no UTF-8, as those of files may be, where a kind of file holds such alone."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"the name of {name!a} is no UTF-8, and {kind} holds no other: rename it, or choose another"
                " kind of output"
            ) from None


def folders_in(folder: str | Path) -> list[Path]:
    """Return the folders in a folder, sorted, without those whose names begin with a dot."""
    return sorted(entry for entry in Path(folder).iterdir() if entry.is_dir() and not entry.name.startswith("."))


def files_below(folder: str | Path, *, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the files of a folder and of the folders in it, as paths relative to it; names that begin with a dot are
    passed over, and the sheet of what failed that `transface align` leaves beside its faces.

    Links are followed, also to folders, but not from a folder (`above`: its parent folders) back into itself.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        listed = list(entries)
    is_aligned = any(entry.name == ALIGNED_MARK for entry in listed)
    found = [entry for entry in listed if not entry.name.startswith(".")]
    for entry in found:
        if is_aligned and entry.name == ALIGNED_SHEET:
            continue
        if entry.is_dir():
            yield from (f"{entry.name}/{name}" for name in files_below(entry.path, above=above | {real}))
        else:  # a link to nothing too: reading it says what is missing
            yield entry.name
