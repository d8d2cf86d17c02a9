"""Attributes of one's own: a CSV or Parquet table with a column of paths and one column a label, of -1, 0, 1 or
nothing.

Columns `split` (the words of data/lists/split_words.py) and `identity` may stand among them. An empty cell is unknown.
Shapes: n images.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute as compute
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from transface.data.labels.attributes import AttributeLabels
from transface.data.lists.split_words import SPLIT_COLUMNS, splits_of_cells
from transface.data.sources.attributes.attribute_set import (
    SPLIT_NUMBERS,
    TRAIN,
    AttributeSet,
    binary_labels,
)
from transface.images.files import list_lines, require_images

PATH_COLUMNS = ("path", "image", "file", "filename", "image_id")
IDENTITY_COLUMNS = ("identity", "person", "id", "subject")


def read_table(path: str | Path, *, unknown: int | None = None, labels: Sequence[str] | None = None) -> AttributeSet:
    """Return the images of a table; paths are relative to its folder. Without splits all images are train.

    Args:
        unknown: see binary_labels.
        labels: the columns that are labels; None: all but those of paths, splits and identities.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: a column is missing, or a cell holds something else.
    """
    path = Path(path)
    table = _read(path)
    if twice := [name for name in table.column_names if table.column_names.count(name) > 1]:
        raise ValueError(f"{path} has two columns {twice[0]!r}: each label needs a name of its own")
    column = {name.strip().lower(): name for name in table.column_names}
    path_column = next((column[name] for name in PATH_COLUMNS if name in column), None)
    if path_column is None:
        raise ValueError(
            f"{path} must have a column {' or '.join(PATH_COLUMNS)}, got {', '.join(table.column_names)[:100]}"
        )
    split_column = next((column[name] for name in SPLIT_COLUMNS if name in column), None)
    identity_column = next((column[name] for name in IDENTITY_COLUMNS if name in column), None)
    named = [name for name in table.column_names if name not in (path_column, split_column, identity_column)]
    if labels is not None and (absent := [name for name in labels if name not in named]):
        raise ValueError(f"{path} has no column {', '.join(map(repr, absent))}: there are {', '.join(named)}")
    wanted = named if labels is None else list(labels)
    if not wanted:
        raise ValueError(f"{path} has no column of labels beside {path_column}")
    if not table.num_rows:
        raise ValueError(f"{path} names no images: no lines below its header")
    names = [str(name) for name in table.column(path_column).to_pylist()]
    require_images(path.parent, names, source=path, hint="paths are relative to it")
    found = _labels(table, wanted, path, unknown)
    people = _people(table, identity_column, names)
    return AttributeSet(path.parent, names, found, _splits(table, split_column, path), people)


def _read(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".parquet":
            return parquet.read_table(path)
        # pyarrow guesses types from the first lines, and would take names such as 007 for numbers.
        head = next(csv.reader(list_lines(path)), [])
        words = {*PATH_COLUMNS, *IDENTITY_COLUMNS, *SPLIT_COLUMNS}
        texts = {name: pyarrow.string() for name in head if name.strip().lower() in words}
        return arrow_csv.read_csv(path, convert_options=arrow_csv.ConvertOptions(column_types=texts))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no table that can be read: {str(error).splitlines()[0][:160]}") from None


def _labels(table: Any, names: list[str], path: Path, unknown: int | None) -> AttributeLabels:
    values = np.zeros((table.num_rows, len(names)), dtype=np.int64)
    empty = np.zeros(values.shape, dtype=bool)
    for place, name in enumerate(names):
        column = table.column(name).combine_chunks()
        try:
            numbers = compute.cast(column, pyarrow.float64()).to_numpy(zero_copy_only=False)
        except pyarrow.ArrowException:
            odd = next(cell for cell in column.to_pylist() if not _is_number(cell))
            raise ValueError(
                f"{path}: labels are -1, 0, 1 or empty; column {name} holds {str(odd)[:40]!r}: name the columns by"
                " labels=[...]"
            ) from None
        empty[:, place] = np.isnan(numbers)
        whole = np.nan_to_num(numbers)
        if (wrong := np.flatnonzero(whole != np.round(whole))).size:
            raise ValueError(
                f"{path}: labels are -1, 0, 1 or empty; {name} of row {int(wrong[0]) + 1} is {whole[int(wrong[0])]:g}"
            )
        values[:, place] = whole
    if (beyond := np.argwhere(np.abs(values) > 1)).size:
        row, place = (int(number) for number in beyond[0])
        raise ValueError(
            f"{path}: labels are -1, 0, 1 or empty; {names[place]} of row {row + 1} is {values[row, place]}"
        )
    # An empty cell must not decide what -1 and 0 mean.
    found = binary_labels(np.where(empty, 1, values), names, where=path, unknown=unknown)
    return AttributeLabels(found.values, names, known=found.known & ~empty)


def _is_number(cell: Any) -> bool:
    try:
        float(1 if cell is None else cell)
    except (TypeError, ValueError):
        return False
    return True


def _splits(table: Any, column: str | None, path: Path) -> NDArray[np.int8]:
    if column is None:
        return np.full(table.num_rows, TRAIN, dtype=np.int8)
    splits = splits_of_cells(table.column(column).to_pylist(), column=column, where=path)
    return np.array([SPLIT_NUMBERS.get(split, TRAIN) for split in splits], dtype=np.int8)


def _people(table: Any, column: str | None, images: Sequence[str]) -> NDArray[np.int64] | None:
    if column is None:
        return None
    cells = table.column(column).to_pylist()
    first: dict[str, int] = {}
    # An image of which nobody says who it is counts as a person of its own.
    names = [
        f"\0{first.setdefault(os.path.normpath(image), row)}" if cell is None or str(cell) in ("", "nan") else str(cell)
        for row, (image, cell) in enumerate(zip(images, cells, strict=True))
    ]
    number = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([number[name] for name in names], dtype=np.int64)
