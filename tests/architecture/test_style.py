"""How files look: lines of at most 120 columns, folders of at most 14 files."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_COLUMNS = 120
MAX_FILES = 14
# Folders that may hold more files, and why.
MORE_FILES: dict[str, str] = {
    "cli": "one file a verb, which is found by its name",
}
PLACES = ("src", "tests", "benchmarks", "conf")


def files(*endings: str) -> list[Path]:
    return sorted(path for place in PLACES for path in (ROOT / place).rglob("*") if path.suffix in endings)


def test_no_line_is_wider_than_120_columns() -> None:
    wide = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files(".py", ".yaml")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > MAX_COLUMNS
    ]
    assert not wide, f"{len(wide)} lines are wider than {MAX_COLUMNS} columns: {', '.join(wide[:20])}"


def packages() -> list[Path]:
    return sorted({path.parent for path in (ROOT / "src" / "transface").rglob("*.py")})


@pytest.mark.parametrize("folder", packages(), ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_folder_holds_at_most_14_files(folder: Path) -> None:
    count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
    name = str(folder.relative_to(ROOT / "src" / "transface"))
    if name in MORE_FILES:
        assert count > MAX_FILES, f"{name} no longer needs its exception: take it out of MORE_FILES"
    else:
        assert count <= MAX_FILES, f"{name} holds {count} files: give some of them a room of their own"
