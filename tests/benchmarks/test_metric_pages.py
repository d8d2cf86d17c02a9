"""docs/metrics/: each page has a formula, an example that runs as it stands, and a picture that the script draws."""

import re
from pathlib import Path

import pytest
from benchmarks.metric_pictures import FIGURES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "metrics").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_example_of_a_metric_runs_and_the_page_shows_a_formula_and_a_picture(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    assert "assert" in program
    exec(compile(program, str(page), "exec"), {"__name__": "__main__"})
    assert re.search(r"^ {4}.* = ", text, re.M)
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", text)
    assert (page.parent / picture).is_file()
    assert page.stem in FIGURES
    for path in re.findall(r"`(\w+/[\w/]+\.py)`", text):
        assert (DOCS.parent / "src" / "transface" / path).is_file(), path


def test_every_figure_is_drawn() -> None:
    assert set(FIGURES) == {page.stem for page in PAGES}
    for draw in FIGURES.values():
        assert draw().axes
