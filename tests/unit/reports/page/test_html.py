"""The HTML report is one file that needs no network; a real browser finds its tables and plots."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transface.reports.page.document import Cell, Document, Row, Section, Table
from transface.reports.page.html import render_cell, render_html, write_html
from transface.reports.reading.runs import Run, read_run
from transface.reports.run_report import comparison_document, run_document

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Structure(HTMLParser):
    """Checks that tags close in order; gathers elements and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(make_result) -> str:
    few = "2 impostors stand behind this threshold"
    runs = [
        Run(
            "transface",
            results=(
                make_result("easy", margin=4, warning=few),
                make_result("lfw"),
                make_result("easy", mode="pixels", label=""),
            ),
        ),
        Run("arcface", results=(make_result("easy", seed=5), make_result("lfw", seed=6))),
    ]
    return render_html(comparison_document(runs))


@pytest.fixture(scope="module")
def structure(page: str) -> Structure:
    parsed = Structure()
    parsed.feed(page)
    assert parsed.open == []
    return parsed


def test_nothing_is_fetched_and_nothing_runs(page: str, structure: Structure) -> None:
    names = "http://www.w3.org/"  # namespaces are names, not addresses that are opened
    assert re.findall(r"https?://(?!www\.w3\.org/)", page) == []
    assert not structure.all("script")
    assert not structure.all("link")
    assert not re.search(r"@import|url\((?!#)", page)
    for attributes in (attributes for _, attributes in structure.elements):
        for key in ("src", "href", "xlink:href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:image/")), names


def test_every_id_is_there_once_and_every_link_inside_leads_somewhere(structure: Structure) -> None:
    ids = [attributes["id"] for _, attributes in structure.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in structure.elements:
        for key in ("href", "xlink:href", "aria-labelledby"):
            value = attributes.get(key)
            if value and (key == "aria-labelledby" or value.startswith("#")):
                assert value.removeprefix("#") in ids


def test_tables_have_captions_and_headers_that_say_what_they_head(structure: Structure) -> None:
    assert len(structure.all("table")) == len(structure.all("caption")) >= 7
    assert all(attributes.get("scope") in ("col", "row") for attributes in structure.all("th"))


def test_pictures_and_plots_are_described(structure: Structure) -> None:
    assert len(structure.all("svg")) == 9  # of two sets ROC, DET, scores of each row
    for attributes in structure.all("svg"):
        assert attributes["role"] == "img"
        assert "rate" in attributes["aria-label"] or "scores" in attributes["aria-label"]
    assert len(structure.all("img")) == 2 * 2 * 2 * 6 * 2  # sets, runs, kinds, pairs, faces
    assert all(attributes["alt"] for attributes in structure.all("img"))


def test_the_page_says_what_the_results_say(page: str) -> None:
    for words in (
        "paired comparison",
        "published",
        "raw-pixel cosine",
        "2 impostors stand behind",
        "rule strict",
        "±",
        "Hardest genuine",
    ):
        assert words in page
    assert page.index("<h2") < page.index("2 impostors stand behind") < page.index("<table")


def test_what_a_user_named_is_text_not_markup() -> None:
    table = Table("<b>c</b>", ("<i>",), (Row('"><script>alert(1)</script>', (Cell("&"),)),))
    text = render_html(Document("<t>", "a & b", (Section("<s>", (table,)),)))
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;t&gt;" in text


def test_colours_follow_the_reader_and_paper_is_light(page: str) -> None:
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", page))
    light = page[page.index(":root{") : page.index("@media (prefers-color-scheme:dark)")]
    dark = page[page.index("@media (prefers-color-scheme:dark)") : page.index("@media print")]
    assert used - {"--sans"} <= set(re.findall(r"(--[a-z0-9-]+):", dark)) <= set(re.findall(r"(--[a-z0-9-]+):", light))


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_curves_stand_out_from_the_paper(page: str, scheme: str) -> None:
    dark_starts = page.index("@media (prefers-color-scheme:dark)")
    text = (
        page[page.index(":root{") : dark_starts]
        if scheme == "light"
        else page[dark_starts : page.index("@media print")]
    )
    colours = dict(re.findall(r"(--[a-z0-9-]+):(#[0-9a-f]{6})", text))
    for name in ("--ink", "--faint", "--accent", *(f"--series-{i}" for i in range(8))):
        assert contrast(colours[name], colours["--paper"]) >= 4.5, name
    assert contrast(colours["--warn"], colours["--warn-paper"]) >= 4.5


def test_a_real_browser_shows_tables_plots_and_faces(tmp_path: Path, make_run, make_result, browser) -> None:
    run = read_run(make_run(tmp_path / "demo", [make_result(), make_result("lfw")]))
    path = write_html(run_document(run), tmp_path / "report.html")
    assert browser.seen(path) == "3 tables, 10 plots, 48 pictures, as wide as the window"
    browser.open(path, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1200,1600")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    blue = np.abs(pixels - np.array([0x1F, 0x5F, 0xD1])).sum(2) < 30
    assert blue.sum() > 300  # the first curve of the ROC plot


def test_figures_stay_on_one_line_and_sentences_in_a_cell_need_not() -> None:
    assert 'class="value"' in render_cell(Cell("96.17 ± 1.50"))
    assert 'class="value words"' in render_cell(Cell("2,469,376 (2,469,248 of them trained)"))
