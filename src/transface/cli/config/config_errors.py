"""One line for what Hydra or OmegaConf refuses in a config: which key or option, and what is near it."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from transface.cli.config.errors import USER_ERRORS, causes, is_config_error, one_line


def config_line(error: BaseException, *, folder: Path, known_keys: Callable[[], Sequence[str]]) -> str | None:
    """Return the line of an error whose first cause with a line is the config, else None.

    Args:
        folder: the folder of the groups.
        known_keys: returns the keys of the composed config; called only where a key is misspelt.
    """
    for cause in causes(error):
        if is_config_error(cause):
            return hydra_line(error if is_config_error(error) else cause, folder=folder, known_keys=known_keys)
        if isinstance(cause, USER_ERRORS):
            return None
    return None


def hydra_line(error: BaseException, *, folder: Path, known_keys: Callable[[], Sequence[str]]) -> str:
    """Return one line for an error of Hydra or OmegaConf."""
    text = str(error).split("Config search path:")[0].strip()
    option = re.search(r"Could not find '([^']+)/([^']+)'", text)
    if option and "Available options" in text:
        group, choice = option.groups()
        choices = [line.strip() for line in text.split(":")[-1].splitlines() if line.strip()]
        nested = [name for name in options_of(folder, group) if "/" in name]
        return f"no {group}={choice}: {_moved(folder, group, choice) or 'there are ' + ', '.join([*choices, *nested])}"
    unlisted = re.search(r"Could not load '([^']+)/([^']+)'", text)
    if unlisted:
        group, choice = unlisted.groups()
        listed = ", ".join(options_of(folder, group))
        return f"no {group}={choice}: {_moved(folder, group, choice) or 'there are ' + listed}"
    missing = re.search(r"Key '([^']+)' is not in struct", text)
    override = re.search(r"Could not override '([^']+)'", text)
    if override or missing:
        name = override.group(1) if override else missing.group(1)  # type: ignore[union-attr]
        known = known_keys()
        inner = re.search(r"Key '([^']+)' is not in struct", f"{error.__cause__}")
        if name in known and inner:
            return f"{name} has no key {inner.group(1)!r}: +{name}=... adds keys to it"
        near = near_names(name, known)
        hint = f"did you mean {' or '.join(near)}?" if near else "'--cfg job' prints all keys"
        return f"no config key {name!r}: {hint} (+{name}=... adds a key that is not there)"
    return one_line(text)


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names like a dotted one, or like its last part."""
    once = list(dict.fromkeys(known))
    return difflib.get_close_matches(name, once, n=3) or difflib.get_close_matches(name.split(".")[-1], once, n=3)


def options_of(folder: Path, group: str) -> list[str]:
    """Return the options of a config group, those in folders as folder/name."""
    home = folder / group
    return sorted(path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.yaml"))


def _moved(folder: Path, group: str, choice: str) -> str:
    """Return what an option is called now that has moved into the folder of its paper; "" where it is none of these."""
    found = [
        name
        for name in options_of(folder, group)
        if "/" in name and choice in (name.replace("/", "_"), name.rpartition("/")[2])
    ]
    return f"it is called {' or '.join(f'{group}={name}' for name in found)} now" if found else ""
