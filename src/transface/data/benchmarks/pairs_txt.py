"""Reads lists of pairs as LFW and MFR2 have them: a line a pair, of names and numbers, and folders of people beside.

Shapes: P pairs.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transface.images.files import below, files_below, is_image_name
from transface.told_once import warn_once

logger = logging.getLogger(__name__)

Side = tuple[str, int]  # a person and the number of an image


def read_pairs_txt(file: Path, root: Path) -> tuple[list[list[str]], NDArray[np.bool_]]:
    """Return the two images (paths below `root`) of every pair of a list, and whether they are of one person (P,).

    A line is `name i j`, of one person, or `name1 i name2 j`, between blanks, tabs or commas; a name may hold blanks. A
    first line of counts or of words alone is passed over. Image i is <name>_<i>.* (LFW and MFR2 write i in four
    digits), with a word behind the number where there is none without (Ann_0002_mask.png); of a person none of whose
    files is numbered so, the i-th of the folder, in the order of the numbers in their names. Pairs of an image with
    itself are warned of.

    Raises:
        FileNotFoundError: if there is no such file, or none of its first people is below `root`.
        ValueError: if it is no text, or naming the first line that is no pair, or names no image or several.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8: {error.reason} at byte {error.start}") from None
    sides: list[list[str]] = []
    is_same: list[bool] = []
    folders: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and _is_head(line)):
            continue
        readings = list(_readings(line))
        if not readings:
            raise ValueError(f"{file}: line {number} must be 'name i j' or 'name1 i name2 j', got {line[:80]!r}")
        there = [one for one in readings if all((root / name).is_dir() for name, _ in one)]
        pair = (there or readings)[0]
        if not sides and not any((root / person).is_dir() for person, _ in pair):
            raise FileNotFoundError(
                f"{file}, line {number}: no folder {root / pair[0][0]}: people's folders are looked for in {root};"
                " protocol.root=FOLDER names another"
            )
        sides.append([_image_of(root, *side, folders, f"{file}: line {number}") for side in pair])
        is_same.append(pair[0][0] == pair[1][0])
    tell_same_images(sides, file)
    return sides, np.array(is_same, dtype=bool)


def tell_same_images(sides: Sequence[Sequence[str]], file: Path) -> None:
    """Warn once of pairs of an image with itself, which any network finds alike, and of pairs that come again."""
    own = [pair[0] for pair in sides if pair[0] == pair[1]]
    if own:
        warn_once(
            logger,
            "%s: %d of %d pairs are of an image with itself, %s the first: their similarity is 1 whatever the network",
            file,
            len(own),
            len(sides),
            own[0],
        )
    if again := len(sides) - len({tuple(sorted(pair)) for pair in sides}):
        warn_once(logger, "%s: %d of %d pairs come again, and count each time", file, again, len(sides))


def _words(line: str) -> list[str]:
    """Return the words of a line: between tabs or commas where it has them, else between blanks."""
    mark = next((mark for mark in ("\t", ",") if mark in line), None)
    words = [word.strip() for word in line.split(mark)]
    while words and not words[-1]:
        words.pop()
    return words


def _is_head(line: str) -> bool:
    """Return whether a line says what the list holds: counts alone, or words alone."""
    words = _words(line)
    return all(word.isdigit() for word in words) or not any(word.isdigit() for word in words)


def _readings(line: str) -> Iterator[tuple[Side, Side]]:
    """Yield the pairs that a line may be: between blanks, a name may hold blanks and numbers itself."""
    words = _words(line)
    if len(words) < 3 or not words[-1].isdigit():
        return
    if words[-2].isdigit() and (name := " ".join(words[:-2])):
        yield (name, int(words[-2])), (name, int(words[-1]))
    for place in range(1, len(words) - 2):
        if words[place].isdigit():
            first, second = " ".join(words[:place]), " ".join(words[place + 1 : -1])
            yield (first, int(words[place])), (second, int(words[-1]))


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Return the key that sorts names by the numbers in them: 2.jpg before 10.jpg."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name) if word]


def _image_of(root: Path, person: str, place: int, folders: dict[str, list[str]], where: str) -> str:
    if person not in folders:
        own = root / below(root, person, source=where)
        there = [file for file in files_below(own) if is_image_name(file)] if own.is_dir() else []
        folders[person] = sorted(there, key=_by_numbers)
    files = folders[person]
    written = re.escape(person).replace(r"\ ", "[ _]")  # folders with blanks often hold files without
    number = re.compile(rf"{written}_(\d{{1,4}})(?:\D.*)?")
    places = {file: int(found[1]) for file in files if (found := number.fullmatch(Path(file).stem))}
    named = [file for file in files if places.get(file) == place]
    named = [file for file in named if Path(file).stem == f"{person}_{place:04d}"] or named
    named = [file for file in named if Path(file).stem[-1].isdigit()] or named
    if not places and 1 <= place <= len(files):
        named = [files[place - 1]]
    if len(named) > 1:
        raise ValueError(f"{where} names image {place} of {person}, and {root / person} has {' and '.join(named[:2])}")
    if not named:
        if not (root / person).is_dir():
            raise ValueError(f"{where} names image {place} of {person}, and there is no folder {root / person}")
        raise ValueError(
            f"{where} names image {place} of {person}, which is none of the {len(files)} in {root / person}"
        )
    return f"{person}/{named[0]}"
