"""Markdown holds the whole document: tables that stay tables, pictures beside it."""

import re
from pathlib import Path

import pytest

from transface.reports.page.document import (
    Cell,
    Document,
    Gallery,
    Listing,
    Paragraph,
    Picture,
    Row,
    Section,
    Table,
    Warnings,
)
from transface.reports.page.markdown import escape, render_block, render_markdown, render_table, write_markdown

TABLE = Table(
    "Figures",
    ("Run", "Accuracy %"),
    (
        Row("a|b", (Cell("99.78 +- 0.26", "[99.65, 99.91]", best=True),)),
        Row("c", (Cell("", ""),), "baseline"),
        Row("d", (Cell("99.0", doubtful=True),), "published"),
    ),
    ("* few",),
)


def test_every_line_of_a_table_has_the_same_number_of_bars() -> None:
    lines = [line for line in render_table(TABLE).splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}


def test_cells_and_marks() -> None:
    text = render_table(TABLE)
    assert "| a\\|b | **99.78 +- 0.26** [99.65, 99.91] |" in text
    assert "| c *(baseline)* | - |" in text
    assert "| d *(published)* | 99.0\\* |" in text
    assert text.endswith("\\* few")


def test_all_kinds_of_blocks(make_result, make_face) -> None:
    pictures: dict[str, bytes] = {}
    document = Document(
        "T",
        "sub",
        (
            Section(
                "S",
                (
                    Warnings(("w",)),
                    Paragraph("p"),
                    Listing("l", "x: 1"),
                    Picture(make_face(0), "face", "a face", "cap"),
                ),
            ),
        ),
    )
    text = render_markdown(document, pictures)
    for part in ("# T", "sub", "## S", "> **Warning:** w", "\np\n", "```\nx: 1\n```", "![a face](face.jpg)", "cap"):
        assert part in text
    assert pictures == {"face.jpg": make_face(0)}
    with pytest.raises(TypeError, match="no Markdown for a str"):
        render_block("text", {})  # type: ignore[arg-type]


def test_every_picture_a_report_points_to_lies_beside_it(tmp_path: Path, make_result) -> None:
    from transface.reports.recognition.hard_pairs import galleries

    blocks: tuple[Gallery, ...] = tuple(galleries(make_result(), label="a", stem="easy"))
    path = write_markdown(Document("T", "", (Section("S", blocks),)), tmp_path / "report" / "report.md")
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text())
    assert linked == ["easy_genuine.png", "easy_impostor.png"]
    assert all((path.parent / name).read_bytes().startswith(b"\x89PNG") for name in linked)


def test_text_is_shown_as_it_is() -> None:
    assert escape("a*b|c<d>\n e") == "a\\*b\\|c&lt;d> e"
