"""The annotated tree of docs/architecture.md is the package as it is: each file with the first line of its docstring
(TRANSFACE_RENEW_TREE=1 writes it).
"""

import ast
import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- tree: begin -->\n", "<!-- tree: end -->"


def tree(package: Path = ROOT / "src" / "transface") -> str:
    lines = ["```", f"src/{package.name}/"]
    for folder, _, files in sorted(os.walk(package)):
        if all("__pycache__" in path.parts for path in Path(folder).rglob("*") if path.is_file()):
            continue  # also what git leaves of a folder whose files moved
        depth = len(Path(folder).relative_to(package).parts)
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


def test_what_python_compiled_is_not_in_the_tree(tmp_path: Path) -> None:
    package = tmp_path / "transface"
    for name in ("a.py", "__pycache__/a.cpython-311.pyc", "moved/__pycache__/b.cpython-311.pyc", "c/d/e.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text('"""What it is."""\n' if name.endswith(".py") else "")
    names = [line.split()[0] for line in tree(package).splitlines()[1:-1]]
    assert names == ["src/transface/", "a.py", "c/", "d/", "e.py"]


def test_every_file_says_what_it_is_in_its_first_line() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "src").rglob("*.py")
        if path.name != "__init__.py" and not first_line(path)
    ]
    assert not silent
