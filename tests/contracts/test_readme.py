"""README.md is short and true: its figures stand in their sources, its files, settings and verbs are there."""

import re
from pathlib import Path

import pytest

from transface.cli.config.compose import conf_folder
from transface.cli.config.verbs import VERBS
from transface.evaluation.results import format_measure, read_results

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, its head left out."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_it_is_read_in_a_few_minutes_and_starts_from_a_photograph() -> None:
    assert len(README.encode()) < 10_000
    program = re.search(r"```python\n(.*?)```", README, re.S)
    assert program is not None
    assert "transface.faces(" in program.group(1)
    assert len([line for line in program.group(1).splitlines() if line.strip()]) == 6


@pytest.mark.parametrize("row", rows_of("What it reaches"), ids=lambda row: row[0])
def test_every_figure_stands_in_its_source(row: list[str]) -> None:
    what, trained, compared, source = row
    link = re.search(r"\((.*?)\)", source)
    assert link is not None
    numbers = re.findall(r"\d+\.\d+", trained + compared)
    place = ROOT / link.group(1)
    if place.is_dir():
        found = [result for result in read_results([place]) if result.name in what]
        known = " ".join(format_measure(measure) for result in found for measure in result.measures)
    else:
        known = place.read_text(encoding="utf-8")
    assert numbers
    assert [number for number in numbers if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", known)] == []


@pytest.mark.parametrize("row", rows_of("Four systems"), ids=lambda row: row[0])
def test_what_a_system_is_trained_and_measured_with_is_there(row: list[str]) -> None:
    (experiment,) = re.findall(r"experiment=([\w/]+)", row[1])
    assert (conf_folder() / "experiment" / f"{experiment}.yaml").is_file()
    for protocol in re.findall(r"`(?:protocol=)?(\w+)`", row[2]):
        assert (conf_folder() / "protocol" / f"{protocol}.yaml").is_file(), protocol


def test_every_file_and_verb_it_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    for test in re.findall(r"`(tests/[\w/]+\.py)`", README):
        assert (ROOT / test).is_file(), test
    for verb in re.findall(r"(?:^ {4}|`)transface (\w+)", README, re.M):
        assert verb in VERBS, verb


def test_the_site_names_every_page_and_every_page_is_there() -> None:
    listed = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed == pages
