"""Reads lists of pairs as LFW and MFR2 have them: a line a pair, of names and numbers, and folders of people beside.

Shapes: P pairs.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transface.images.files import below, files_below, is_image_name

Side = tuple[str, int]  # a person and the number of an image


def read_pairs_txt(file: Path, root: Path) -> tuple[list[list[str]], NDArray[np.bool_]]:
    """Return the two images (paths below `root`) of every pair of a list, and whether they are of one person (P,).

    A line is `name i j`, of one person, or `name1 i name2 j`, between blanks, tabs or commas; a name may hold blanks. A
    first line of counts or of words alone is passed over. Image i is <name>_<i in four digits>.*, with a word behind
    the number where there is none without (Ann_0002_mask.png); of a person none of whose files is numbered so, the i-th
    of the sorted folder.

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
    return sides, np.array(is_same, dtype=bool)


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


def _image_of(root: Path, person: str, place: int, folders: dict[str, list[str]], where: str) -> str:
    if person not in folders:
        own = root / below(root, person, source=where)
        folders[person] = sorted(file for file in files_below(own) if is_image_name(file)) if own.is_dir() else []
    files = folders[person]
    number = re.compile(rf"{re.escape(person)}_(\d{{4}})(?:\D.*)?")
    places = {file: int(found[1]) for file in files if (found := number.fullmatch(Path(file).stem))}
    named = [file for file in files if places.get(file) == place]
    named = [file for file in named if Path(file).stem == f"{person}_{place:04d}"] or named
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
