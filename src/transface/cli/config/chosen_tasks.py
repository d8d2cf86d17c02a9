"""task=[...]: what an experiment says of tasks that were not chosen is left out, a task chosen twice is refused."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

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
    """Take out of a config what its experiment says of tasks that are not in `data.tasks`: their own settings, and what
    the system does not read beside the tasks that are. What the command line says of them stays, and is refused.

    Raises:
        UserError: for a setting of the command line that the system does not read.
    """
    rows = cfg.get("data", {}).get("tasks")
    if not isinstance(rows, DictConfig):
        return
    from transface.systems.generalist.tasks import unread_settings

    known = {file.stem for folder in folders for file in (folder / "task").glob("*.yaml")}
    others = known - {str(row) for row in rows} - {str(one) for one in cfg.data.get("sets") or ()}
    kinds = {str(name): str(row.get("kind")) for name, row in rows.items() if isinstance(row, DictConfig)}
    with open_dict(cfg):
        for name in others & set(map(str, cfg)):
            if not _words_about(name, overrides):
                del cfg[name]
        for setting, why in unread_settings(kinds, others).items():
            value = OmegaConf.select(cfg, setting)
            if value is None or value == []:  # asks for what is so
                continue
            if words := _words_about(setting, overrides):
                raise UserError(f"{words[0]}: {why}")
            above, _, key = setting.rpartition(".")
            if above:
                del OmegaConf.select(cfg, above)[key]
            else:
                cfg[key] = None  # the system refers to its parts


def _words_about(setting: str, overrides: Sequence[str]) -> list[str]:
    """Return the words of a command line that give a setting, one below it, or a mapping above with its name."""
    found = []
    for word in overrides:
        key, _, value = word.lstrip("+~").partition("=")
        last = setting.rpartition(".")[2]
        if f"{key}.".startswith(f"{setting}.") or (
            setting.startswith(f"{key}.") and re.search(rf"\b{re.escape(last)}\b", value)
        ):
            found.append(word)
    return found
