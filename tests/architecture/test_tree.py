"""The annotated tree of docs/architecture.md is the package as it is: each file with the first line of its docstring
(TRANSFACE_RENEW_TREE=1 writes it).
"""

import ast
import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- tree: begin -->\n", "<!-- tree: end -->"


def tree() -> str:
    lines = ["```", "src/transface/"]
    for folder, names, files in sorted(os.walk(ROOT / "src" / "transface")):
        names[:] = sorted(name for name in names if name != "__pycache__")
        depth = len(Path(folder).relative_to(ROOT / "src" / "transface").parts)
        if depth:
            lines.append(f"{'  ' * depth}{Path(folder).name}/")
        for file in sorted(files):
            first = first_line(Path(folder) / file)
            if file.endswith(".py") and first:
                lines.append(f"{'  ' * (depth + 1)}{file:<{34 - 2 * depth}}{first}")
    return "\n".join([*lines, "```"]) + "\n"


def first_line(path: Path) -> str:
    if path.suffix != ".py":
        return ""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def test_the_tree_in_the_page_is_the_package() -> None:
    page = ROOT / "docs" / "architecture.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    written, after = rest.split(END)
    if os.environ.get("TRANSFACE_RENEW_TREE"):
        page.write_text(before + BEGIN + tree() + END + after, encoding="utf-8")
        return
    assert written == tree(), (
        "the tree in docs/architecture.md is old: TRANSFACE_RENEW_TREE=1 pytest tests/architecture/test_tree.py"
        " renews it"
    )


def test_every_file_says_what_it_is_in_its_first_line() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "src").rglob("*.py")
        if path.name != "__init__.py" and not first_line(path)
    ]
    assert not silent
