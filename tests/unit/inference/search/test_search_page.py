"""The page holds its pictures, escapes names, and marks who counts as the same."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

from transface.inference.search.search_page import Answer, Hit, search_page


def test_a_page_stands_alone_and_marks_hits(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gone.png").write_bytes(b"no picture")
    hits = [Hit("<b>one</b>", folder / "person 0" / "0.png", 0.75), Hit("two", tmp_path / "gone.png", 0.25)]
    page = search_page([Answer("q & a", folder / "person 1" / "1.png", hits)], title="a <title>", threshold=0.5)
    assert "&lt;b&gt;one&lt;/b&gt;" in page
    assert "<b>one</b>" not in page
    assert "q &amp; a" in page
    assert "0.7500</b> same" in page
    assert "0.2500</b><br>two" in page
    pictures = re.findall(r"base64,([^\"]+)", page)
    assert len(pictures) == 2
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (112, 112)
    assert "no picture" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
