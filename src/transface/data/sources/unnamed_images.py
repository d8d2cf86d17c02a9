"""Counts images that lie beside those of a list and that no list names: they are no part of the set, and it says so."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from transface.images.files import is_image_name
from transface.told_once import is_first_search, warn_once

logger = logging.getLogger(__name__)


def unnamed_images(folder: Path, named: Iterable[str]) -> list[str]:
    """Return the images, as paths below a folder, that lie in the folders of the named ones and are none of them."""
    as_written: dict[str, set[str]] = defaultdict(set)
    for path in named:
        place, name = os.path.split(path)
        as_written[place].add(name)
    names: dict[str, set[str]] = defaultdict(set)
    for place, own in as_written.items():
        names[os.path.normpath(place)] |= own
    found = []
    for place, own in sorted(names.items()):
        if (folder / place).is_dir():
            others = {entry.name for entry in os.scandir(folder / place)} - own
            found += [
                os.path.normpath(os.path.join(place, name))
                for name in sorted(others)
                if is_image_name(name) and not name.startswith(".")
            ]
    return found


def tell_unnamed(root: Path, folder: Path, named: Iterable[str]) -> None:
    """Warn once of images in the folders of a set's named images that none of its lists names.

    Args:
        root: what the user gave.
        folder: what the names are relative to.
        named: every image that a list names, also those that are not used.
    """
    if not is_first_search("images that no list names", root):
        return
    if found := unnamed_images(folder, named):
        warn_once(
            logger,
            "%s: %d images in %s are named by no list and are not used, such as %s",
            root,
            len(found),
            folder,
            found[0],
        )
