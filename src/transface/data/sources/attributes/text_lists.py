"""Reads CelebA's lists, words apart by spaces or commas, a million numbers a second: every word is found at once, none
is cut out alone.

Shapes: n lines, C columns of numbers.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NEWLINE, MINUS, ZERO = b"\n-0"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
IS_GAP = np.zeros(256, dtype=bool)
IS_GAP[list(b' \n\r\t,"')] = True  # names between quotes are those of a .csv


class NumberedNames(NamedTuple):
    """A list's first column, n names, and the whole numbers beside them, (n, C)."""

    names: list[str]
    numbers: NDArray[np.int64]


def read_numbers(path: Path, *, columns: int, skip_lines: int, largest_digits: int = 9) -> NumberedNames:
    """Return the names and numbers of a list of lines `name number ... number`, apart by spaces, tabs or commas.

    Args:
        columns: C, numbers a line.
        skip_lines: lines of head.
        largest_digits: digits a number may have.

    Raises:
        ValueError: naming the first line that has another form.
    """
    text = path.read_bytes().removeprefix(BYTE_ORDER_MARK)
    start = _end_of_lines(text, skip_lines)
    body = np.frombuffer(text, dtype=np.uint8)[start:]
    gap = np.ones(len(body) + 2, dtype=bool)
    gap[1:-1] = IS_GAP[body]
    edges = np.flatnonzero(gap[1:] != gap[:-1])
    begins, ends = edges[::2], edges[1::2]
    width = columns + 1
    if len(begins) % width or _torn(body, begins.reshape(-1, width)):
        raise ValueError(_first_bad_line(path, text, skip_lines, width))
    first, last = begins.reshape(-1, width), ends.reshape(-1, width)
    numbers = _numbers(body, first[:, 1:], last[:, 1:], largest_digits)
    if numbers is None:
        raise ValueError(_first_bad_line(path, text, skip_lines, width))
    body_text = text[start:]
    names = [
        body_text[b:e].decode("utf-8", "replace")
        for b, e in zip(first[:, 0].tolist(), last[:, 0].tolist(), strict=True)
    ]
    return NumberedNames(names, numbers)


def _torn(body: NDArray[np.uint8], begins: NDArray[np.int64]) -> bool:
    """Return whether some row of words lies on more than one line, or two rows on one."""
    newlines = np.flatnonzero(body == NEWLINE)
    first, last = (np.searchsorted(newlines, begins[:, column]) for column in (0, -1))
    return bool((first != last).any() or (np.diff(first) < 1).any())


def _numbers(
    body: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64], largest: int
) -> NDArray[np.int64] | None:
    """Return the whole numbers that stand at these places, or None where one is none."""
    negative = body[begins] == MINUS
    place = begins + negative
    digits = ends - place
    if digits.size and not 1 <= digits.min() <= digits.max() <= largest:
        return None
    values = np.zeros(begins.shape, dtype=np.int64)
    if digits.max(initial=0) == 1:  # attributes: a third of the time
        digit = body[place] - np.uint8(ZERO)
        return (
            None
            if (digit > 9).any()
            else np.where(negative, -digit.astype(np.int8), digit.astype(np.int8)).astype(np.int64)
        )
    for position in range(int(digits.max(initial=0))):
        here = digits > position
        digit = body[place + position if position == 0 else np.where(here, place + position, 0)] - np.uint8(
            ZERO
        )  # wraps below "0"
        if ((digit > 9) & here).any():
            return None
        values = np.where(here, values * 10 + digit, values)
    return np.negative(values, out=values, where=negative)


def _end_of_lines(text: bytes, count: int) -> int:
    at = 0
    for _ in range(count):
        found = text.find(b"\n", at)
        at = len(text) if found < 0 else found + 1
    return at


def _first_bad_line(path: Path, text: bytes, skip_lines: int, width: int) -> str:
    for number, line in enumerate(text.splitlines()[skip_lines:], start=skip_lines + 1):
        words = line.replace(b",", b" ").replace(b'"', b" ").split()
        whole = all(word.lstrip(b"-").isdigit() for word in words[1:])
        if words and (len(words) != width or not whole):
            shown = line[:80].decode("utf-8", "replace")
            return f"{path}: line {number} must be a name and {width - 1} whole numbers, got {shown!r}"
    return f"{path}: its lines must be a name and {width - 1} whole numbers"


def head_lines(path: Path, count: int) -> list[str]:
    """Return the first lines of a text file, without their ends and a byte order mark."""
    with path.open("rb") as file:
        return [file.readline().decode("utf-8-sig", "replace").strip() for _ in range(count)]
