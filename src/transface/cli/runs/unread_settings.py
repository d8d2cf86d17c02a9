"""Which settings of a command line change nothing beside the others: what nothing refers to, and what a part says that
it does not read.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from transface.cli.config.command_line import key_of
from transface.cli.config.compose import plain
from transface.cli.config.value_types import parts
from transface.progress import is_main_process

# Read by this verb itself, whatever refers to them.
DIRECT = {"data", "hydra", "logger", "callbacks", "monitor", "name", "paths", "plan", "report", "resume", "seed"}
DIRECT |= {"schedule_by", "system", "trainer"}
REFERENCE = re.compile(r"\$\{(?:oc\.select:)?([A-Za-z_][\w.]*)")


def unread_settings(cfg: DictConfig, words: Sequence[str]) -> dict[str, str]:
    """Return the settings among the words of a command line that change nothing in this config, each with the reason.

    A setting of the top is read where another one refers to it. A class that a config names may have
    `unread_settings(settings)`: from its own settings, those it does not read beside them, by name, with the reason.
    """
    given = list(_keys_of(words, cfg))
    references = set(REFERENCE.findall(OmegaConf.to_yaml(cfg, resolve=False)))
    found = {key: "nothing refers to it here" for key in given if not _is_read(key, references)}
    if not cfg.get("plan"):
        found |= {key: "plan is false: the data tells its own facts" for key in given if key.startswith("plan_facts")}
    for node in parts(cfg):
        for name, why in _told_by(node).items():
            home = _home(node, name)
            found |= {key: why for key in given if home is not None and f"{key}.".startswith(f"{home}.")}
    return found


def leave_out_replaced_settings(cfg: DictConfig, words: Sequence[str]) -> None:
    """Take out of a config what its experiment says of an option that the command line replaced, and the one in its
    place does not take; print what. What the command line says stays, and is refused.
    """
    given = {key_of(word) for word in words}
    for group in sorted(name for name in given if isinstance(cfg.get(name), DictConfig) and "_target_" in cfg[name]):
        taken = _parameters(str(cfg[group]["_target_"]))
        odd = [str(name) for name in cfg[group] if taken is not None and not str(name).startswith("_")]
        odd = [name for name in odd if taken is not None and name not in taken]
        odd = [name for name in odd if not any(f"{key}.".startswith(f"{group}.{name}.") for key in given)]
        for name in odd:
            del cfg[group][name]
        if odd and is_main_process():
            print(
                f"note: {', '.join(f'{group}.{name}' for name in odd)} left out: it was of another {group}", flush=True
            )


def _parameters(target: str) -> set[str] | None:
    """Return the names that what a `_target_` names takes, None where it takes any or cannot be found."""
    try:
        found = inspect.signature(hydra.utils.get_object(target)).parameters
    except Exception:  # building it says what is wrong with it
        return None
    return None if any(one.kind is one.VAR_KEYWORD for one in found.values()) else set(found)


def _keys_of(words: Sequence[str], cfg: DictConfig) -> Iterator[str]:
    """Yield the keys that words set to a value, without those that choose an option of a group."""
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key.startswith("~") or value in ("null", "[]") or "/" in key or "@" in key:
            continue
        name = key.lstrip("+")
        top = name.partition(".")[0]
        if top in cfg and ("." in name or not _is_option(cfg, name)):
            yield name


def _is_option(cfg: DictConfig, name: str) -> bool:
    """Return whether a name of the top stands for a part and not for a value."""
    node = cfg._get_node(name)
    return isinstance(node, DictConfig) and name != "plan_facts"


def _is_read(key: str, references: set[str]) -> bool:
    if key.partition(".")[0] in DIRECT:
        return True
    # ${epochs.${stage.name}} may read any of epochs
    return any(f"{key}.".startswith(f"{one.rstrip('.')}.") or one.startswith(f"{key}.") for one in references)


def _told_by(node: DictConfig) -> Mapping[str, str]:
    """Return what the class that a node names says of its settings."""
    try:
        tells = getattr(hydra.utils.get_object(str(node["_target_"])), "unread_settings", None)
    except Exception:  # building it says what is wrong with it
        return {}
    return {} if tells is None else tells(plain(node))


def _home(node: Any, name: str) -> str | None:
    """Return the full name of a setting below a node, of a reference that of what it refers to; None if it is not
    there.
    """
    first, _, rest = name.partition(".")
    key: Any = int(first) if isinstance(node, ListConfig) else first
    if key not in (range(len(node)) if isinstance(node, ListConfig) else node):
        return None
    child: Any = node._get_node(key)
    if child._is_interpolation():
        child = child._dereference_node()
    if not rest:
        return str(child._get_full_key(None))
    return _home(child, rest) if isinstance(child, DictConfig | ListConfig) and not child._is_none() else None
