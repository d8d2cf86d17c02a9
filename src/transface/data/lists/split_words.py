"""The words by which lists and folders name the splits of a set.

Shapes: n images.
"""

from collections.abc import Sequence

SPLIT_COLUMNS = ("split", "partition", "usage")
# By the names that sets are published with: 300W has trainset/, FER2013 Training, PublicTest and PrivateTest.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "trainset": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "valset": "val",
    "dev": "val",
    "publictest": "val",
    "test": "test",
    "testing": "test",
    "testset": "test",
    "privatetest": "test",
}
# In a column alone: a folder 0 is a class or a person.
NUMBERED_SPLITS = {"0": "train", "1": "val", "2": "test"}


def split_of_word(word: str) -> str | None:
    """Return "train", "val" or "test" for the word of a split (that a folder is named after), None for any other."""
    return SPLIT_WORDS.get(word.strip().lower())


def splits_of_cells(cells: Sequence[object], *, column: str, where: object) -> list[str]:
    """Return "train", "val" or "test" for each cell (n) of a column; "" for all where every cell is empty.

    Args:
        cells: words, numbers or None.
        column: its name, for the error.
        where: what an error calls the list.

    Raises:
        ValueError: for a word that is no split, or a cell that is empty among others.
    """
    words = ["" if cell is None else str(cell).strip().lower() for cell in cells]
    if not any(words):
        return words
    known = SPLIT_WORDS | NUMBERED_SPLITS
    if odd := [place for place, word in enumerate(words) if word not in known]:
        got = "" if cells[odd[0]] is None else cells[odd[0]]
        raise ValueError(
            f"{where}: column {column} must say train, val or test in every row (0, 1, 2; Training, PublicTest,"
            f" PrivateTest), got {str(got)!r} in {len(odd)} of {len(cells)}"
        )
    return [known[word] for word in words]
