"""`transface config experiment=...`: a copy of a config to start one's own from."""

import argparse
from pathlib import Path

from transface.artifacts import write_whole
from transface.cli.config.config_errors import options_of
from transface.cli.config.errors import UserError
from transface.cli.config.folder import conf_folder

OWN_FOLDER = "my_conf"


def main(argv: list[str]) -> int:
    """Run `transface config GROUP=OPTION`; without a word it lists the groups, with a group's name its options."""
    parser = argparse.ArgumentParser(
        prog="transface config",
        description="Copies a config to start your own from. 'transface config' lists the groups, 'transface config"
        " experiment' the options of one.",
    )
    parser.add_argument("words", nargs="*", metavar="GROUP=OPTION|output=FILE.yaml")
    words = parser.parse_args(argv).words
    outputs = [word.removeprefix("output=") for word in words if word.startswith("output=")]
    wanted = [word for word in words if not word.startswith("output=")]
    if not wanted:
        print("\n".join(f"{group}: {', '.join(_listed(group))}" for group in groups()))
        return 0
    if len(wanted) > 1 or len(outputs) > 1:
        raise UserError(f"config copies one file: transface config experiment=demo, got {' '.join(words)}")
    group, _, option = wanted[0].partition("=")
    if group not in groups():
        raise UserError(f"no group {group!r}: there are {', '.join(groups())}")
    if not option:
        print("\n".join(options_of(conf_folder(), group)))
        return 0
    print(copy_config(group, option, Path(outputs[0]) if outputs else None))
    return 0


def groups() -> list[str]:
    """Return the groups of settings, of Hydra's own those that are chosen by a word, as folder/name."""
    folder = conf_folder()
    found = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")} - {"."}
    return sorted({name if name.startswith("hydra/") else name.split("/")[0] for name in found} - {"hydra"})


def _listed(group: str) -> list[str]:
    """Return the options of a group, without those of a group of Hydra's inside it, which has a line of its own."""
    options = options_of(conf_folder(), group)
    return [option for option in options if "/" not in option or not group.startswith("hydra/")]


def copy_config(group: str, option: str, output: Path | None = None) -> str:
    """Copy the file of a group's option and return what to say: where it lies, and how it is used.

    Raises:
        UserError: for an option that is not there, a name that is ours already, or a folder that is not the group's.
        FileExistsError: if there is a file already.
    """
    if option not in options_of(conf_folder(), group):
        raise UserError(f"no {group}={option}: there are {', '.join(options_of(conf_folder(), group))}")
    file = conf_folder() / group / f"{option}.yaml"
    target = output or Path(OWN_FOLDER) / group / f"my_{option.rpartition('/')[2]}.yaml"
    if target.suffix != ".yaml" or target.parent.name != group.rpartition("/")[2]:
        raise UserError(
            f"output must be a .yaml in a folder named {group.rpartition('/')[2]}, where Hydra looks for it, got"
            f" {target}; e.g. {OWN_FOLDER}/{group}/mine.yaml"
        )
    if target.stem in options_of(conf_folder(), group):
        raise UserError(
            f"{group}={target.stem} is a config of transface, which would be read instead: take another name"
        )
    if target.exists():
        raise FileExistsError(f"{target} is there already: output= takes another name")
    text = file.read_text(encoding="utf-8")
    write_whole(target, text)
    root = target.parents[group.count("/") + 1]
    return f"{target}: a copy of {group}={option}. Use it: transface train --config-dir {root} {group}={target.stem}"
