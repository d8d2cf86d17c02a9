"""`transface <verb> --help`: what the verb does, and its own keys with their defaults, a line each; without Hydra."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from transface.cli.config.verbs import VERBS

KEY = re.compile(r"^(\w+):\s*([^#]*?)\s*(?:#\s*(.*))?$")
WIDTH = 34


def verb_help(verb: str, folder: Path) -> str:
    """Return the help of a verb from the text of its config.

    Raises:
        FileNotFoundError: if the verb has no config in the folder.
    """
    lines = (folder / f"{verb}.yaml").read_text(encoding="utf-8").splitlines()
    groups = _groups(lines)
    shown = [f"transface {verb}: {VERBS[verb]}", ""]
    shown += [f"  {line}" for line in _key_lines(lines)]
    for name, group in groups.items():
        options = sorted(
            path.relative_to(folder / group).with_suffix("").as_posix() for path in (folder / group).rglob("*.yaml")
        )
        if options:
            shown += ["", f"{name}=..., one of: {', '.join(options)}"]
    if groups:
        shown += ["", f"'transface {verb} KEY=VALUE... --cfg job' shows all keys of the options chosen"]
    return "\n".join(shown)


def _groups(lines: list[str]) -> dict[str, str]:
    """Return the folder of each group that a config's defaults list names, by its key; but for what is Hydra's own."""
    found = {}
    for line in lines:
        named = re.match(r"^  - (?:override )?/?([\w/]+)(?:@(\w+))?:", line)
        if named and named.group(1) not in ("hydra", "paths"):
            found[named.group(2) or named.group(1)] = named.group(1)
    return found


def _key_lines(lines: list[str]) -> list[str]:
    """Return the keys at the top of a config, "key=default   what it is"; a comment above a key goes with it.

    A key that takes another key's value is shown with that value; the section of the other key, which says nothing of
    itself, is left out.
    """
    content = yaml.safe_load("\n".join(lines))
    shown: list[str] = []
    above: list[str] = []
    for line in lines[1:]:
        if line.startswith("#"):
            above.append(line.lstrip("# "))
            continue
        found = KEY.match(line)
        if found is None or found.group(1) == "defaults":
            above = []
            continue
        name, value, comment = found.groups()
        if not value and not comment and not above:
            continue
        if taken := re.fullmatch(r"\$\{([\w.]+)\}", value):
            value = _value_at(content, taken.group(1))
        words = " ".join([*above, *([comment] if comment else [])])
        default = f"{name}={value}" if value and value != "???" else f"{name}=..." if value == "???" else f"{name}.*"
        shown.append(f"{default:<{WIDTH}} {words}".rstrip())
        above = []
    return shown


def _value_at(content: Any, path: str) -> str:
    """Return the value at a.b.c of a config, as its YAML has it."""
    for name in path.split("."):
        content = content[name]
    return json.dumps(content)
