"""Reads published figures, which stand beside ours and were never measured here: reports/published/<system>.csv.

Columns: model, trained_on, set, measure, per_cent. What they are of stands in the README.md beside them.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "published"


class PublishedRow(NamedTuple):
    """One published model: what it was trained on, and its figures as fractions by (set, measure)."""

    model: str
    trained_on: str
    figures: dict[tuple[str, str], float]

    @property
    def label(self) -> str:
        """The name of the row in tables."""
        return f"{self.model}, {self.trained_on}"


@cache
def read_published(system: str) -> tuple[PublishedRow, ...]:
    """Return the published rows of a system, in the order of its file.

    Raises:
        FileNotFoundError: if nothing is published of it.
    """
    rows: dict[tuple[str, str], PublishedRow] = {}
    with (FOLDER / f"{system}.csv").open(encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream):
            name = (line["model"], line["trained_on"])
            row = rows.setdefault(name, PublishedRow(*name, {}))
            row.figures[line["set"], line["measure"]] = float(line["per_cent"]) / 100
    return tuple(rows.values())
