"""A document as one HTML file that needs nothing else: style inline, plots as SVG inside it, pictures as data, no
script, no network.
"""

import base64
import html
from pathlib import Path

from transface.artifacts import write_whole
from transface.plots import to_svg
from transface.reports.page.document import (
    Block,
    Cell,
    Document,
    FacePair,
    Gallery,
    Listing,
    Paragraph,
    Picture,
    Plot,
    Section,
    Table,
    Warnings,
)
from transface.reports.page.style import STYLE
from transface.reports.reading.files import media_type

LONGEST_UNBROKEN = 24  # characters of a cell that stay on one line: figures do, sentences need not
KIND_BADGES = {"run": "", "baseline": "baseline", "published": "published", "best": "best"}


def write_html(document: Document, path: str | Path) -> Path:
    """Write a document to a self-contained .html file and return the path."""
    return write_whole(Path(path), render_html(document).encode())


def render_html(document: Document) -> str:
    """Return the document as a whole HTML page."""
    numbered = list(enumerate(document.sections, start=1))
    links = "".join(f'<li><a href="#s{number}">{escape(section.title)}</a></li>' for number, section in numbered)
    body = "\n".join(render_section(section, number) for number, section in numbered)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(document.title)}</title>
<style>
{STYLE}
</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>{escape(document.title)}</h1>
<p class="subtitle">{escape(document.subtitle)}</p>
<nav aria-label="Sections"><ol>{links}</ol></nav>
</header>
<main id="content">
{body}
</main>
</body>
</html>
"""


def render_section(section: Section, number: int) -> str:
    """Return one section; neighbouring plots stand side by side where there is room."""
    parts: list[str] = []
    for index, block in enumerate(section.blocks):
        rendered = render_block(block, prefix=f"s{number}b{index}")
        if isinstance(block, Plot) and parts and parts[-1].startswith('<div class="plots">'):
            parts[-1] = f"{parts[-1].removesuffix('</div>')}{rendered}</div>"
        else:
            parts.append(f'<div class="plots">{rendered}</div>' if isinstance(block, Plot) else rendered)
    body = "\n".join(parts)
    title = f'<h2 id="s{number}-title">{escape(section.title)}</h2>'
    return f'<section id="s{number}" aria-labelledby="s{number}-title">\n{title}\n{body}\n</section>'


def render_block(block: Block, *, prefix: str) -> str:
    """Return one block; every id in it begins with `prefix`."""
    if isinstance(block, Table):
        return render_table(block, prefix=prefix)
    if isinstance(block, Plot):
        return render_plot(block, prefix=prefix)
    if isinstance(block, Picture):
        return f'<figure class="picture">{image(block.encoded, block.alt)}{figure_caption(block.caption)}</figure>'
    if isinstance(block, Gallery):
        pairs = "".join(render_pair(pair) for pair in block.pairs)
        return f'<figure class="gallery"><figcaption>{escape(block.caption)}</figcaption><ul>{pairs}</ul></figure>'
    if isinstance(block, Warnings):
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in block.sentences)
        return f'<div class="warnings" role="note"><ul>{items}</ul></div>'
    if isinstance(block, Listing):
        return f"<details><summary>{escape(block.summary)}</summary><pre>{escape(block.text)}</pre></details>"
    if isinstance(block, Paragraph):
        return f"<p>{escape(block.text)}</p>"
    raise TypeError(f"no HTML for a {type(block).__name__}")


def render_table(table: Table, *, prefix: str) -> str:
    """Return a table with its caption, headers that say what they head, and its notes; wide ones scroll by
    themselves.
    """
    columns = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "\n".join(
        f'<tr class="{row.kind}"><th'
        f' scope="row">{escape(row.header)}{badge(row.kind)}</th>{"".join(map(render_cell, row.cells))}</tr>'
        for row in table.rows
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    return (
        f'<div class="table" role="region" tabindex="0" aria-labelledby="{prefix}-caption">'
        f'<table><caption id="{prefix}-caption">{escape(table.caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
        + (f'<div class="notes">{notes}</div>' if notes else "")
    )


def render_cell(cell: Cell) -> str:
    """Return one cell, its interval on a line of its own."""
    if not cell.text:
        return '<td><span class="none" aria-label="none">–</span></td>'
    words = " words" if len(cell.text) > LONGEST_UNBROKEN else ""
    value = f'<span class="value{words}">{escape(cell.text)}</span>' + (
        '<abbr title="doubtful: see the notes">*</abbr>' if cell.doubtful else ""
    )
    interval = f' <span class="interval">{escape(cell.interval)}</span>' if cell.interval else ""
    return ('<td class="best">' if cell.best else "<td>") + f"{value}{interval}</td>"


def badge(kind: str) -> str:
    """Return the mark of a row that is no run of ours."""
    return f' <span class="badge {kind}">{KIND_BADGES[kind]}</span>' if KIND_BADGES[kind] else ""


def render_plot(plot: Plot, *, prefix: str) -> str:
    """Return a plot as inline SVG with its description."""
    svg = to_svg(plot.figure, prefix=prefix).replace("<svg ", f'<svg role="img" aria-label="{escape(plot.alt)}" ', 1)
    return f'<figure class="plot">{svg}{figure_caption(plot.caption)}</figure>'


def render_pair(pair: FacePair) -> str:
    """Return two faces side by side."""
    faces = "".join(
        (
            image(face, f"face {number} of the pair")
            if face
            else '<span class="missing" role="img" aria-label="no picture"></span>'
        )
        for number, face in enumerate(pair.images, start=1)
    )
    return f'<li><span class="faces">{faces}</span><span class="pair">{escape(pair.caption)}</span></li>'


def image(encoded: bytes, alt: str) -> str:
    """Return an <img> that holds its picture."""
    data = base64.b64encode(encoded).decode()
    return f'<img alt="{escape(alt)}" src="data:{media_type(encoded)};base64,{data}">'


def figure_caption(caption: str) -> str:
    """Return a <figcaption>, or nothing."""
    return f"<figcaption>{escape(caption)}</figcaption>" if caption else ""


def escape(text: str) -> str:
    """Return text for a page: markup escaped, +- as one sign."""
    return html.escape(text).replace("+-", "±")
