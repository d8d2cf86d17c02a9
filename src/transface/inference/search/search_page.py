"""Writes what a search found as one HTML file: each query with its hits, scores and thumbnails inside the file."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

THUMBNAIL = 112
STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:2em;color:#222;background:#fff}h1{font-size:1.3em}
section{display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start;padding:12px 0;border-top:1px solid #ccc}
figure{margin:0;width:124px}
figure img,figure .gone{width:112px;height:112px;object-fit:contain;background:#eee;display:block}
figcaption{font-size:12px;overflow-wrap:anywhere}figure.query img{outline:3px solid #06c}.same b{color:#070}
.score{font-variant-numeric:tabular-nums}"""


class Hit(NamedTuple):
    """A gallery face: its name, its picture (a path, or its encoded bytes), its cosine."""

    name: str
    path: Path | bytes
    score: float


class Answer(NamedTuple):
    """A query with its hits, the best first."""

    name: str
    path: Path | bytes
    hits: Sequence[Hit]


def search_page(answers: Sequence[Answer], *, title: str, threshold: float | None = None) -> str:
    """Return the page; hits at or above the threshold are marked as one person."""
    sections = "\n".join(_section(answer, threshold) for answer in answers)
    note = "" if threshold is None else f"<p>Marked: cosine at or above {threshold:.4f}, taken as one person.</p>"
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return (
        "<!doctype html>\n<html"
        f' lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>{note}\n{sections}\n</body></html>\n'
    )


def _section(answer: Answer, threshold: float | None) -> str:
    figures = [_figure(answer.path, f"query: {html.escape(answer.name)}", "query")]
    for hit in answer.hits:
        same = threshold is not None and hit.score >= threshold
        caption = f'<b class="score">{hit.score:.4f}</b>{" same" if same else ""}<br>{html.escape(hit.name)}'
        figures.append(_figure(hit.path, caption, "same" if same else "hit"))
    return f"<section>{''.join(figures)}</section>"


def _figure(path: Path | bytes, caption: str, kind: str) -> str:
    picture = thumbnail(path)
    shown = (
        '<div class="gone">no picture</div>'
        if picture is None
        else f'<img alt="" src="data:image/jpeg;base64,{picture}">'
    )
    return f'<figure class="{kind}">{shown}<figcaption>{caption}</figcaption></figure>'


def thumbnail(path: Path | bytes) -> str | None:
    """Return a picture of at most 112 pixels a side as base64 JPEG, or None if it cannot be read."""
    try:
        with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as picture:
            small = ImageOps.exif_transpose(picture).convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode()
