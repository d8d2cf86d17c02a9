"""A document as Markdown, its plots and pictures as PNG files beside it."""

from pathlib import Path

from transface.artifacts import write_whole
from transface.plots import to_png
from transface.reports.page.contact_sheet import contact_sheet
from transface.reports.page.document import (
    Block,
    Cell,
    Document,
    Gallery,
    Listing,
    Paragraph,
    Picture,
    Plot,
    Table,
    Warnings,
)
from transface.reports.reading.files import suffix_of

KIND_MARKS = {"run": "", "baseline": " *(baseline)*", "published": " *(published)*", "best": " **(best)**"}


def write_markdown(document: Document, path: str | Path) -> Path:
    """Write a document to a .md file, its pictures into the same folder, and return the path."""
    path = Path(path)
    pictures: dict[str, bytes] = {}
    text = render_markdown(document, pictures)
    for name, content in pictures.items():
        write_whole(path.parent / name, content)
    return write_whole(path, text.encode())


def render_markdown(document: Document, pictures: dict[str, bytes]) -> str:
    """Return the document as Markdown; files it points to are added to `pictures` by name."""
    parts = [f"# {escape(document.title)}", escape(document.subtitle)]
    for section in document.sections:
        parts.append(f"## {escape(section.title)}")
        parts += [render_block(block, pictures) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_block(block: Block, pictures: dict[str, bytes]) -> str:
    """Return one block."""
    if isinstance(block, Table):
        return render_table(block)
    if isinstance(block, Plot):
        return render_picture(Picture(to_png(block.figure), block.stem, block.alt, block.caption), pictures)
    if isinstance(block, Picture):
        return render_picture(block, pictures)
    if isinstance(block, Gallery):
        sheet = Picture(to_png(contact_sheet(block)), block.stem, block.caption, block.caption)
        return render_picture(sheet, pictures)
    if isinstance(block, Warnings):
        return "\n".join(f"> **Warning:** {escape(sentence)}  " for sentence in block.sentences)
    if isinstance(block, Listing):
        return f"<details><summary>{escape(block.summary)}</summary>\n\n```\n{block.text}\n```\n\n</details>"
    if isinstance(block, Paragraph):
        return escape(block.text)
    raise TypeError(f"no Markdown for a {type(block).__name__}")


def render_picture(picture: Picture, pictures: dict[str, bytes]) -> str:
    """Return the link to a picture and its caption."""
    name = f"{picture.stem}{suffix_of(picture.encoded)}"
    pictures[name] = picture.encoded
    link = f"![{escape(picture.alt)}]({name.replace(' ', '%20')})"
    return f"{link}\n\n{escape(picture.caption)}" if picture.caption else link


def render_table(table: Table) -> str:
    """Return a pipe table with its caption above and its notes below."""
    lines = [f"**{escape(table.caption)}**", ""]
    lines.append("| " + " | ".join(escape(column) for column in table.columns) + " |")
    lines.append("|---" + "|---:" * (len(table.columns) - 1) + "|")
    for row in table.rows:
        cells = [escape(row.header) + KIND_MARKS[row.kind], *map(render_cell, row.cells)]
        lines.append("| " + " | ".join(cells) + " |")
    if table.notes:
        lines += ["", *(f"{escape(note)}  " for note in table.notes)]
    return "\n".join(lines).rstrip()


def render_cell(cell: Cell) -> str:
    """Return one cell."""
    value = escape(cell.text) + ("\\*" if cell.doubtful else "")
    value = f"**{value}**" if cell.best and value else value
    return f"{value} {escape(cell.interval)}".strip() if cell.interval else value or "-"


def escape(text: str) -> str:
    """Return plain text so that Markdown shows it as it is."""
    for character in "\\`*|<":
        text = text.replace(character, f"\\{character}" if character != "<" else "&lt;")
    return " ".join(text.split())
