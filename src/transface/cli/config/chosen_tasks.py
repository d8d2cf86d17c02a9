"""task=[...]: what an experiment says of tasks that were not chosen is left out, a task chosen twice is refused."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, open_dict

from transface.cli.config.errors import UserError


def refuse_repeated_tasks(overrides: Sequence[str]) -> None:
    """Raise for a task that a command line names twice: Hydra would compose it once.

    Raises:
        UserError: naming it.
    """
    for word in overrides:
        if found := re.fullmatch(r"\+?task=\[(.*)\]", word):
            counts = Counter(name.strip(" '\"") for name in found[1].split(","))
            if repeated := [name for name, count in counts.items() if count > 1]:
                raise UserError(
                    f"task={word.partition('=')[2]}: {repeated[0]} is there {counts[repeated[0]]} times; a task is"
                    " named once, and a second data set of its kind is a task with a YAML and a name of its own"
                )


def leave_out_unchosen_tasks(cfg: DictConfig, overrides: Sequence[str], folders: Sequence[Path]) -> None:
    """Take out of a config what its experiment says of tasks that are not in `data.tasks`: their own settings, their
    weights, and the classifier where no task is of identity. What the command line says of them stays, and is refused
    as what nothing reads.

    Raises:
        UserError: for a classifier given for no task of identity.
    """
    rows = cfg.get("data", {}).get("tasks")
    if not isinstance(rows, DictConfig):
        return
    known = {file.stem for folder in folders for file in (folder / "task").glob("*.yaml")}
    weights = cfg.get("balance", {}).get("names")
    told = ", ".join(map(str, rows))
    with open_dict(cfg):
        for name in known - {str(row) for row in rows} - {str(one) for one in cfg.data.get("sets") or ()}:
            if name in cfg and not any(re.match(rf"[+~]*{re.escape(name)}[.=]", word) for word in overrides):
                del cfg[name]
            if isinstance(weights, DictConfig) and name in weights and not _weighed(name, overrides):
                del weights[name]
        people = any(isinstance(row, DictConfig) and row.get("kind") == "identity" for row in rows.values())
        if rows and not people:
            if asked := [word for word in overrides if word.startswith("classifier") and cfg.get("classifier")]:
                raise UserError(f"{asked[0]}: only tasks of identity have a classifier, and none of {told} is one")
            cfg.classifier = None


def _weighed(name: str, overrides: Sequence[str]) -> bool:
    """Return whether a command line gives a task its weight."""
    return any(re.search(rf"balance\.names\b.*\b{re.escape(name)}\b", word) for word in overrides)
