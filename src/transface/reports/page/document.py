"""What a report is made of: sections of tables, plots, pictures, warnings; html.py and markdown.py each render the same
document.
"""

from dataclasses import dataclass, field
from typing import Literal

from matplotlib.figure import Figure

RowKind = Literal["run", "baseline", "published", "best"]


@dataclass(frozen=True)
class Cell:
    """One value of a table.

    Attributes:
        text: the value, "" where there is none.
        interval: its 95 % interval, e.g. "[98.1, 99.2]", or "".
        doubtful: marked, because a note of the table says why not to trust it.
        best: the highest of its column.
    """

    text: str = ""
    interval: str = ""
    doubtful: bool = False
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A row: its header, its cells and what it is (a run, a baseline, a published figure, the best setting)."""

    header: str
    cells: tuple[Cell, ...]
    kind: RowKind = "run"


@dataclass(frozen=True)
class Table:
    """A table; `columns` names the header column and each cell. `notes` are printed below it."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure: `stem` names its file, `alt` says in words what it shows."""

    figure: Figure = field(compare=False)
    stem: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """An encoded image (PNG or JPEG bytes): `stem` names its file, `alt` says in words what it shows."""

    encoded: bytes = field(repr=False)
    stem: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class FacePair:
    """Two faces side by side: their encoded images (one of them may be missing: empty) and the line below."""

    images: tuple[bytes, ...] = field(repr=False)
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pairs of faces, the most telling first."""

    caption: str
    stem: str
    pairs: tuple[FacePair, ...]


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Warnings:
    """Sentences the reader must not miss."""

    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """Text shown as it is (a config, versions), folded away where the format can."""

    summary: str
    text: str


Block = Table | Plot | Picture | Gallery | Paragraph | Warnings | Listing


@dataclass(frozen=True)
class Section:
    """A titled part of a document."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report: its title, one line below it, its sections."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
