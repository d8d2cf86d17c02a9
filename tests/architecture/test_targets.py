"""conf/: every `_target_` exists and takes the keys that stand beside it, so that a typo dies here."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf"


def nodes(value: Any, trail: str = "") -> Iterator[tuple[str, dict]]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield trail, value
        for key, inner in value.items():
            yield from nodes(inner, f"{trail}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from nodes(inner, f"{trail}[{index}]")


def targets() -> list[Any]:
    found = []
    for path in sorted(CONF.rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for trail, node in nodes(content):
            found.append(pytest.param(node, id=f"{path.relative_to(CONF)}{trail}"))
    return found


def resolve(target: str) -> Any:
    words = target.split(".")
    for cut in range(len(words) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:cut]))
        except ModuleNotFoundError as error:
            if not target.startswith(str(error.name)):
                raise
            continue
        for word in words[cut:]:
            found = getattr(found, word)
        return found
    raise AssertionError(f"no module of {target} can be imported")


@pytest.mark.parametrize("node", targets())
def test_a_target_exists_and_takes_its_keys(node: dict) -> None:
    called = resolve(node["_target_"])
    parameters = inspect.signature(called).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    unknown = {key for key in node if not key.startswith("_")} - set(parameters) - {"defaults"}  # a list of Hydra's
    assert not unknown, f"{node['_target_']} takes no {sorted(unknown)}"


def test_there_are_targets_to_check() -> None:
    assert len(targets()) > 10


def outer_and_inner(value: Any, outer: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield (target, target inside it) for all targets that lie in another's keys."""
    if isinstance(value, dict):
        own = value.get("_target_")
        if own and outer:
            yield outer, own
        for inner in value.values():
            yield from outer_and_inner(inner, own or outer)
    elif isinstance(value, list):
        for inner in value:
            yield from outer_and_inner(inner, outer)


def test_no_part_is_handed_one_of_a_higher_floor() -> None:
    from tests.architecture.test_floors import height, room_of

    arrows = []
    for path in sorted(CONF.rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for outer, inner in outer_and_inner(content):
            rooms = [
                room_of(name.removeprefix("transface.")) for name in (outer, inner) if name.startswith("transface.")
            ]
            if len(rooms) == 2 and height(rooms[1]) > height(rooms[0]):
                arrows.append(f"{path.relative_to(CONF)}: {outer} is given {inner}")
    assert not arrows, "\n".join(arrows)


def test_no_config_names_what_stands_above_the_systems() -> None:
    from tests.architecture.test_floors import height, room_of

    found = []
    for path in sorted(CONF.rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for _, node in nodes(content):
            name = str(node["_target_"])
            if name.startswith("transface.") and height(room_of(name.removeprefix("transface."))) > height(
                "evaluation"
            ):
                found.append(f"{path.relative_to(CONF)}: {name}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_a_config_says_each_key_once(path: Path) -> None:
    OmegaConf.load(path)  # raises for a key that stands twice, which yaml.safe_load takes
