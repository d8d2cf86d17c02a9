"""Which settings differ from those a checkpoint was trained with: the one home of that question."""

from collections.abc import Mapping
from typing import Any

# What does not bear on what is trained: where things lie, who is told, how fast batches come; and the optimizer's
# settings, which are told as they are applied.
NOT_TOLD = (
    "name",
    "resume",
    "report",
    "paths.",
    "logger",
    "checkpoint.folder",
    "callbacks.",
    "data.num_workers",
    "optimizer.",
    "protocol.",
    "plan",
    "validation.",
)
TOLD_OF_THESE = ("callbacks.average.",)  # which weights are measured and used
# What decides which images of a set come to which of its splits.
DEALING = ("kind", "form", "shares", "split_seed", "val_share", "val_identity_share")
FOUND_BY_LOOK = ("kind", "form")  # null is as good as the right one
# Settings that came later than some checkpoints, with what those were trained by.
LATER = {"schedule_by": "steps"}
NUM_TOLD = 20


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return "margin.margin 0.35 -> 0.5" for every setting that differs between two resolved configs.

    A setting that only one of them has is told where it is another than null: a checkpoint of an earlier version lacks
    the settings that came later.
    """
    old, new = flat(before), flat(now)
    told = []
    for name in dict.fromkeys([*new, *old]):
        is_told = name.startswith(TOLD_OF_THESE) or not name.startswith(NOT_TOLD)
        if not is_told or old.get(name) == new.get(name):
            continue
        if name not in old and new[name] == LATER.get(name, ...):
            continue
        if name not in old or name not in new:
            home = name.rpartition(".")[0]
            if not (f"{home}._target_" in old and f"{home}._target_" in new):
                told.append(f"{name} {_word(old, name)} -> {_word(new, name)}")
            continue
        told.append(f"{name} {_word(old, name)} -> {_word(new, name)}")
    names = {line.partition(" ")[0] for line in told}
    return [line for line in told if not _is_reference(line.partition(" ")[0], names)]


def changed_dealing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings by which a set is dealt to splits otherwise than before, each as (before, now).

    Args:
        before, now: settings of the same set, of a training and of a protocol; a setting of one alone is none of both.
    """
    found = {}
    for name in DEALING:
        old, new = (as_list(own.get(name)) for own in (before, now))
        by_look = name in FOUND_BY_LOOK and None in (old, new)
        if name in before and name in now and old != new and not by_look:
            found[name] = (old, new)
    return found


def _is_reference(name: str, changed: set[str]) -> bool:
    """Return whether a setting is one that a part took from another place: system.margin.scale is margin.scale."""
    words = name.split(".")
    return any(".".join(words[place:]) in changed for place in range(1, len(words))) or "optimizer" in words[:2]


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested config as {dotted name: value}; lists are values."""
    if not isinstance(config, Mapping):
        return {prefix.rstrip("."): config}
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.")
    return found


def told(changes: list[str]) -> str:
    """Return the changes as one line."""
    shown = ", ".join(changes[:NUM_TOLD])
    return f"{shown} and {len(changes) - NUM_TOLD} more" if len(changes) > NUM_TOLD else shown


def pasteable(value: Any) -> str:
    """Return a value as the command line takes it."""
    return str(list(value)).replace(" ", "") if isinstance(value, list | tuple) else _shown(value)


def _word(config: Mapping[str, Any], name: str) -> str:
    return _shown(config.get(name))


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def as_list(value: Any) -> Any:
    """Return a tuple as a list, so that the two compare; another value as it is."""
    return list(value) if isinstance(value, list | tuple) else value
