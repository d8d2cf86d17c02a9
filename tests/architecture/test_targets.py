"""conf/: every `_target_` exists and takes the keys that stand beside it, so that a typo dies here."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

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
