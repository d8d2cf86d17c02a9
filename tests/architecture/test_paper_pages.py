"""The pages of docs/papers name code and tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "papers").glob("*.md"))
REFERENCE = re.compile(r"`((?:\w+/)*\w+\.py):(\w+)`")


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    targets = (target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets)
    return names | {target.id for target in targets if isinstance(target, ast.Name)}


def test_there_are_pages_with_references() -> None:
    assert PAGES
    assert all(REFERENCE.search(page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_and_name_on_the_page_exists(page: Path) -> None:
    for file, name in REFERENCE.findall(page.read_text(encoding="utf-8")):
        homes = [home / file for home in (ROOT / "src" / "transface", ROOT / "tests", ROOT) if (home / file).is_file()]
        assert homes, f"{page.name} names {file}, which is nowhere"
        assert any(name in defined_in(home) for home in homes), (
            f"{page.name} names {name}, which {file} does not define"
        )
