"""`transface <verb> --help`: the groups of options and the composed config; Hydra's own page takes seconds to list its
groups.
"""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

FLAGS = """-m: run every combination of comma-separated values (a sweep)
--cfg job: print the composed config and run nothing; --info: where each part of it comes from
--config-dir FOLDER: configs of your own beside the package's"""


def asks_for_help(argv: Sequence[str]) -> bool:
    """Return whether a verb's words ask for its help."""
    return bool({"-h", "--help"} & set(argv))


def help_page(verb: str, config: DictConfig, folder: Path) -> str:
    """Return the help of a verb: the groups in `folder` and the composed config."""
    return "\n".join(
        [
            f"usage: transface {verb} [key=value ...] [group=option ...]",
            "",
            "Groups (group=option):",
            *(f"  {group}: {', '.join(options)}" for group, options in groups_of(folder).items()),
            "",
            "Flags:",
            *(f"  {line}" for line in FLAGS.splitlines()),
            "",
            "Settings (key=value), with the values they have here:",
            OmegaConf.to_yaml(config, resolve=False),
        ]
    )


def groups_of(folder: Path) -> dict[str, list[str]]:
    """Return the options of each group: the names of the YAML files in each folder but the top and Hydra's own."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.yaml")):
        group = file.parent.relative_to(folder).as_posix()
        if group != "." and not group.startswith("hydra"):
            found.setdefault(group, []).append(file.stem)
    return dict(sorted(found.items()))
