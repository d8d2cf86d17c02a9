"""Looks through the folders of people before they count as such: parts of a data set, people one folder deeper, names
written in two ways, copies and links of one person's folder.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from transface.data.lists.alike_names import tell_alike
from transface.data.lists.split_words import split_of_word
from transface.told_once import is_first_search, warn_once

log = logging.getLogger(__name__)


class Paths(Protocol):
    """Paths by number."""

    def __getitem__(self, index: int, /) -> str: ...


def check_people(root: Path, counts: Mapping[str, int], paths: Paths) -> None:
    """Refuse what are no people, and tell once what they may not be.

    Args:
        root: holds a folder a person.
        counts: how many images each has.
        paths: of the images below `root`, person by person in that order.

    Raises:
        ValueError: if they are the parts of a split data set.
    """
    people = list(counts)
    refuse_splits(root, people)
    tell_alike(people, "people", source=root)
    if not is_first_search("people", root):
        return
    files = dict(zip(people, _own_paths(list(counts.values()), paths), strict=True))
    _tell_deeper(root, files)
    _tell_copies(root, files)


def refuse_splits(root: Path, people: Sequence[str]) -> None:
    """Raise ValueError if what should be people are the parts of a split data set, with the people inside."""
    # Which of val and test an eval/ is, nobody knows; that it is no person, everybody.
    if people and all(split_of_word(person) or person.lower() == "eval" for person in people):
        wanted = min(people, key=lambda person: split_of_word(person) != "train")
        inside = next((entry.name for entry in sorted((root / wanted).iterdir()) if entry.is_dir()), None)
        if inside is not None:
            raise ValueError(
                f"{root} holds the parts of a data set ({', '.join(people)}), not people: give {root / wanted},"
                f" which holds {inside} and others"
            )


class _Own(Sequence[str]):
    """Some paths of a table, without a copy."""

    def __init__(self, paths: Paths, places: range) -> None:
        self.paths, self.places = paths, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> str:  # type: ignore[override]
        return self.paths[self.places[place]]


def _own_paths(counts: Sequence[int], paths: Paths) -> Iterator[_Own]:
    start = 0
    for count in counts:
        yield _Own(paths, range(start, start + count))
        start += count


def _tell_deeper(root: Path, files: Mapping[str, Sequence[str]]) -> None:
    """Tell where no person has an image in the own folder, and the folders inside have more names than there are
    people: these may be the people.
    """
    inside: set[str] = set()
    for own in files.values():
        below = {path.split("/")[1] for path in own} if all(path.count("/") > 1 for path in own) else set()
        if len(below) < 2:
            return
        inside |= below
    if len(inside) > len(files):
        first = next(iter(files))
        warn_once(
            log,
            "%s: %d people, %s the first, whose images all lie in folders inside (%s the first): if these are the"
            " people, give the folder that holds them",
            root,
            len(files),
            first,
            min({path.split("/")[1] for path in files[first]}),
        )


def _tell_copies(root: Path, files: Mapping[str, Sequence[str]]) -> None:
    """Tell of two people whose pictures are the same, byte by byte."""
    by_size: dict[tuple[int, int], list[str]] = {}
    for person, own in files.items():
        path = root / own[0]
        if path.is_file():
            by_size.setdefault((len(own), path.stat().st_size), []).append(person)
    copies: list[tuple[str, str]] = []
    for alike in by_size.values():
        known: dict[bytes, str] = {}
        for person in alike if len(alike) > 1 else []:
            first = (root / files[person][0]).read_bytes()
            other = known.setdefault(first, person)
            if other != person and _same_files(root, files[other], files[person]):
                copies.append((other, person))
    if copies:
        warn_once(
            log,
            "%s: %d people have the pictures of another, %s those of %s the first: two names of one person are"
            " taught to be two people; remove one",
            root,
            len(copies),
            copies[0][1],
            copies[0][0],
        )


def _same_files(root: Path, first: Sequence[str], second: Sequence[str]) -> bool:
    return all(
        (root / one).read_bytes() == (root / other).read_bytes() for one, other in zip(first, second, strict=True)
    )
