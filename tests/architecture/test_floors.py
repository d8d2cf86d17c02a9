"""The order of floors of the house: each file imports only what stands lower, systems stay apart, no circles, no
drawers.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "transface"
FLOORS: list[list[str]] = [
    ["__init__", "__main__"],
    ["cli"],
    ["reports", "inference"],
    ["systems.recognition", "systems.attributes", "systems.occlusion", "systems.generalist", "evaluation", "export"],
    ["training"],
    ["packs", "synthetic"],
    ["classifiers"],
    ["data"],
    ["backbones", "losses", "metrics", "margins", "images"],
    [
        "distributed",
        "artifacts",
        "progress",
        "told_once",
        "file_kinds",
        "matlab_files",
        "matlab_child",
        "plots",
        "seeds",
        "shapes",
        "face_template",
    ],
]
FORBIDDEN_WORDS = {"utils", "util", "helper", "helpers", "misc", "common", "new", "v2"}


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name] = path
    return found


def room_of(module: str) -> str:
    for floor in FLOORS:
        for room in floor:
            if module == room or module.startswith(room + "."):
                return room
    if module in {"systems", "systems.__init__"}:
        return "systems"
    raise AssertionError(f"{module} stands on no floor; give it one in {__file__}")


def height(room: str) -> int:
    for index, floor in enumerate(FLOORS):
        if room in floor:
            return len(FLOORS) - index
    return len(FLOORS) - 2  # the empty systems/__init__.py


@cache
def imports_of(name: str, path: Path) -> set[str]:
    package = ["transface", *name.split(".")][:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{stem}.{alias.name}" for alias in node.names}
    known = set(modules())
    inside = set()
    for target in found:
        if not target.startswith("transface."):
            continue
        words = target.split(".")[1:]
        while words and ".".join(words) not in known:
            words = words[:-1] if f"{'.'.join(words)}.__init__" not in known else [*words, "__init__"]
        if words:
            inside.add(".".join(words))
    return inside


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_file_imports_only_from_lower_floors(name: str) -> None:
    room = room_of(name)
    for target in imports_of(name, modules()[name]):
        other = room_of(target)
        if target == "__init__" or other == room:
            continue
        assert height(other) < height(room), f"{name} imports {target}: an arrow that runs upwards or sideways"


def test_what_reports_share_knows_no_system() -> None:
    shared = ("reports.page.", "reports.reading.", "reports.sections.", "reports.statistics.")
    of_systems = ("reports.recognition.", "reports.attributes.", "reports.occlusion.")
    for name, path in modules().items():
        if name.startswith(shared):
            wrong = [target for target in imports_of(name, path) if target.startswith(of_systems)]
            assert not wrong, f"{name} imports {wrong[0]}, which is of one system"


def test_imports_make_no_circle() -> None:
    graph = {name: imports_of(name, path) - {name} for name, path in modules().items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join((*trail, name))}"
        if name not in done:
            for target in graph.get(name, ()):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_file_is_named_after_its_idea(name: str) -> None:
    assert not FORBIDDEN_WORDS & set(name.replace(".", "_").split("_"))


def test_package_files_are_all_but_empty() -> None:
    for name, path in modules().items():
        if name.endswith("__init__") and name != "__init__":
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 3, f"{name} holds code"


def test_only_cli_knows_hydra() -> None:
    for name, path in modules().items():
        if room_of(name) in {"cli", "__init__"}:
            continue
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.split(".")[0] in {"hydra", "omegaconf"} for n in names), (
                f"{name} imports Hydra or OmegaConf"
            )
