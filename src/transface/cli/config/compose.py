"""Finds conf/, composes it, refuses missing keys by name, freezes it; the one home of instantiate()."""

import copy
import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from transface.artifacts import write_whole
from transface.cli.config.absent_files import refuse_absent
from transface.cli.config.chosen_tasks import leave_out_unchosen_tasks, refuse_repeated_tasks
from transface.cli.config.command_line import hydra_words, overrides_of
from transface.cli.config.config_errors import config_line, near_names
from transface.cli.config.errors import Carried, UserError, has_line, shows_traceback
from transface.cli.config.folder import conf_folder
from transface.cli.config.help_page import asks_for_help, help_page
from transface.cli.config.value_types import refuse_wrong_kinds, refuse_wrong_kinds_of_verb


def run_verb(verb: str, argv: list[str], task: Callable[[DictConfig], Any], *, folder: Path | None = None) -> Any:
    """Compose conf/<verb>.yaml (or that of another folder) with the overrides in `argv` and call `task` with it,
    through Hydra.

    So -m and --cfg job work.
    """
    root = verb if folder is None else "train"
    folder = folder or conf_folder()
    OmegaConf.register_new_resolver("trial_name", trial_name, replace=True)
    argv = hydra_words(argv, folder)
    if asks_for_help(argv):
        with one_line_for_configs(folder, verb, argv):
            print(help_page(verb, compose(verb, overrides_of(argv), folder=folder), folder))
        return None
    result: list[Any] = []

    def checked(cfg: DictConfig) -> Any:
        try:
            overrides = words_given()
            refuse_repeated_tasks(overrides)
            leave_out_unchosen_tasks(cfg, overrides, config_folders())
            refuse_unknown(cfg, root)
            if not cfg.get("plan"):  # what a plan needs of the data depends on the facts that are given
                refuse_missing(cfg)
            refuse_absent(cfg, root, overrides)
            refuse_wrong_kinds(cfg)
            if root != "train":
                refuse_wrong_kinds_of_verb(cfg, DictConfig(OmegaConf.load(folder / f"{root}.yaml")))
            OmegaConf.set_readonly(cfg, True)
            result.append(task(cfg))
        except Exception as error:
            if not has_line(error) or HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            raise Carried(error) from error
        return result[-1]

    with one_line_for_configs(folder, verb, argv), _given_to_hydra(argv):
        hydra.main(version_base="1.3", config_path=str(folder), config_name=verb)(checked)()
    return result[-1] if result else None


@contextmanager
def _given_to_hydra(argv: list[str]) -> Iterator[None]:
    """Let Hydra find these words on the command line, and write whole the settings of a sweep (multirun.yaml); after it
    neither the words nor what it composed are left, for what runs next in this process.
    """
    before, composed, save = sys.argv, HydraConfig.instance().cfg, OmegaConf.save
    sys.argv = [f"{before[0]}", *argv]
    OmegaConf.save = staticmethod(_save_whole)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        sys.argv = before
        HydraConfig.instance().cfg = composed
        OmegaConf.save = staticmethod(save)  # type: ignore[method-assign, assignment]


def _save_whole(config: Any, f: Any, resolve: bool = False) -> None:
    """Write a config as OmegaConf.save does, a file of a name whole or not at all."""
    text = OmegaConf.to_yaml(config, resolve=resolve)
    if isinstance(f, str | Path):
        write_whole(f, text)
    else:
        f.write(text)


def trial_name(overrides: str) -> str:
    """Return the name of a trial's folder for the settings it was given: a variant without its paper's folder, and no
    slash that makes a folder.
    """
    return re.sub(r"\bvariant=[^,/]+/", "variant=", overrides).replace("/", "-")


@contextmanager
def one_line_for_configs(folder: Path, verb: str, argv: list[str]) -> Iterator[None]:
    """Raise UserError with its one line in place of what Hydra or OmegaConf refuses in a config."""
    try:
        yield
    except (Exception, Carried) as error:
        cause = error.error if isinstance(error, Carried) else error
        line = config_line(cause, folder=folder, known_keys=lambda: _known_keys(folder, verb, argv))
        if line is None or shows_traceback():
            raise
        raise UserError(line) from cause


def _known_keys(folder: Path, verb: str, argv: list[str]) -> list[str]:
    """Return the keys of the config composed with the groups the user chose; [] where these do not compose either."""
    groups = [
        word
        for word in argv
        if "=" in word and "." not in word.split("=")[0] and (folder / word.split("=")[0].lstrip("+")).is_dir()
    ]
    try:
        return leaf_keys(compose(verb, groups))
    except Exception:
        return []


def compose(verb: str, overrides: list[str], *, folder: Path | None = None) -> DictConfig:
    """Return conf/<verb>.yaml (or that of another folder) composed with overrides, without running anything."""
    with hydra.initialize_config_dir(str(folder or conf_folder()), version_base="1.3"):
        return hydra.compose(verb, overrides=overrides)


def leaf_keys(cfg: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of all keys of a config."""
    names: list[str] = []
    for key in cfg:
        name = f"{prefix}{key}"
        names.append(name)
        node = cfg._get_node(key)
        if (
            isinstance(node, DictConfig)
            and not node._is_none()
            and not node._is_interpolation()
            and not node._is_missing()
        ):
            names += leaf_keys(node, f"{name}.")
    return names


def refuse_missing(cfg: DictConfig) -> None:
    """Raise where a value is still `???`.

    Raises:
        UserError: naming every key that needs a value.
    """
    if missing := missing_names(cfg):
        raise UserError(
            f"no value for {', '.join(missing)}: give {'one' if len(missing) == 1 else 'them'}, e.g. {missing[0]}=..."
        )


def missing_names(cfg: DictConfig) -> list[str]:
    """Return the names of the keys whose value is still `???`, sorted; not of those that refer to one."""
    return sorted(name for name in _missing_below(cfg) if not name.startswith("hydra."))


def _missing_below(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of a node's missing values; nothing is resolved, for a reference to a missing one cannot be."""
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        value = node._get_node(key)
        name = f"{prefix}[{key}]" if isinstance(node, ListConfig) else f"{prefix}.{key}".removeprefix(".")
        if value._is_missing():
            yield name
        elif isinstance(value, DictConfig | ListConfig) and not value._is_none() and not value._is_interpolation():
            yield from _missing_below(value, name)


def words_given() -> list[str]:
    """Return the overrides of this run's command line, in a sweep those of its trial."""
    return [str(word) for word in HydraConfig.get().overrides.task] if HydraConfig.initialized() else []


def search_direction() -> str | None:
    """Return which values of the monitor a search looks for, "maximize" or "minimize"; None where this is no trial of
    one.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    found = HydraConfig.get().sweeper.get("direction")
    return None if found is None else str(found)


def refuse_unknown(cfg: DictConfig, verb: str) -> None:
    """Raise where a config holds a setting that nothing reads: a typo in an experiment's file, which Hydra takes for a
    new key.

    Settings of a node with a `_target_` are refused by what it names.

    Raises:
        UserError: naming the setting and what is near it.
    """
    known = known_settings(verb)
    text = OmegaConf.to_yaml(cfg, resolve=False) + _experiment_text()
    unread = [
        name
        for name in _plain_settings(cfg)
        if name not in known and not re.search(rf"\$\{{(oc\.select:)?{re.escape(name)}[}}.,]", text)
    ]
    if unread := [name for name in unread if not _is_below_null(name, verb)]:
        near = near_names(unread[0], known)
        hint = f"did you mean {' or '.join(near)}?" if near else "'--cfg job' prints all settings"
        raise UserError(f"no setting {unread[0]!r}, nothing reads it: {hint}")


def _is_below_null(name: str, verb: str) -> bool:
    """Return whether a setting is part of a value given for a key of a verb that is null by default."""
    top = name.partition(".")[0]
    return any(top in root and root._get_node(top)._is_none() for root in _roots(verb))


def _experiment_text() -> str:
    """Return the experiment's file: a setting that it refers to is read, also where what refers to it was replaced."""
    choice = HydraConfig.get().runtime.choices.get("experiment") if HydraConfig.initialized() else None
    files = [folder / "experiment" / f"{choice}.yaml" for folder in config_folders()]
    return "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())


def known_settings(verb: str) -> list[str]:
    """Return the names of what a verb reads: its groups and the chosen system's, their own settings, and those of their
    nodes without a `_target_`.
    """
    own: dict[str, list[str]] = {}
    for root in _roots(verb):
        groups = [
            str(key).lstrip("/") for entry in root.get("defaults", []) if isinstance(entry, DictConfig) for key in entry
        ]
        for group in (group for group in groups if not group.startswith("override ")):
            folder, _, package = group.partition("@")
            own.setdefault(package or folder, []).extend(_keys_of_group(folder))
        for key in (str(key) for key in root if key != "defaults"):
            node = root._get_node(key)
            own.setdefault(key, []).extend([str(inner) for inner in node] if isinstance(node, DictConfig) else [])
    return [*own, *(f"{name}.{key}" for name, keys in own.items() for key in keys)]


def _roots(verb: str) -> list[Any]:
    """Return the file of a verb, and of the system it was composed with where it has one."""
    found: list[Any] = [OmegaConf.load(conf_folder() / f"{verb}.yaml")]
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {"system": "recognition"}
    if verb == "train":  # a recorded run names no choice: any system's settings may be in it
        pattern = f"{choices.get('system') or '*'}.yaml"
        found += [
            OmegaConf.load(file) for folder in config_folders() for file in sorted((folder / "system").glob(pattern))
        ]
    return found


def config_folders() -> list[Path]:
    """Return the folders that configs are composed from: ours, and those that --config-dir and hydra.searchpath
    name.
    """
    if not HydraConfig.initialized():
        return [conf_folder()]
    sources = [source for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
    return [conf_folder(), *(Path(source.path) for source in sources if Path(source.path) != conf_folder())]


def _plain_settings(cfg: DictConfig) -> list[str]:
    """Return the names at the top, and those below that lie in no part with a `_target_`."""
    names = []
    for name in map(str, cfg):
        names.append(name)
        node = cfg._get_node(name, validate_access=False)
        if isinstance(node, DictConfig) and not node._is_none() and "_target_" not in node:
            names += [f"{name}.{key!s}" for key in node if not _is_part(_value_in(node, key))]
    return names


def _keys_of_group(name: str) -> list[str]:
    files = [path for folder in config_folders() for path in sorted((folder / name).rglob("*.yaml"))]
    return [key for path in files for key in _keys_of_file(path, path.stat().st_mtime_ns)]


@functools.cache
def _keys_of_file(path: Path, _changed_ns: int) -> tuple[str, ...]:
    """Return the plain keys of a group's file, read once as long as it is not changed: each trial of a sweep asks."""
    file: Any = OmegaConf.load(path)
    if "_target_" in file:
        return ()
    return tuple(str(key) for key in file if not isinstance(file._get_node(key), DictConfig))


def _value_in(node: DictConfig, key: Any) -> Any:
    """Return a value of a node; one that is still to be given is no part."""
    return "" if OmegaConf.is_missing(node, key) else node[key]


def _is_part(value: Any) -> bool:
    return value is None or (isinstance(value, DictConfig) and "_target_" in value)


def instantiate(node: Any, **parts: Any) -> Any:
    """Build what `_target_` names from the node's other keys; the only call of Hydra's instantiate."""
    return hydra.utils.instantiate(_apart(node), **parts)


def _apart(node: Any) -> Any:
    """Return the node within a copy of its whole config: Hydra resolves what a node refers to in place, and the config
    that a run records would lose its interpolations.
    """
    if not isinstance(node, DictConfig) or node._is_none():
        return node
    key = node._get_full_key(None)
    root = copy.deepcopy(node._get_root())
    return OmegaConf.select(root, key) if key else root


def plain(cfg: Any) -> Any:
    """Return a config as plain dicts and lists with every interpolation resolved."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg
