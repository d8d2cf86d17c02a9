"""Finds conf/, composes it, refuses missing keys by name, freezes it; the one home of instantiate()."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from transface.cli.command_line import hydra_words
from transface.cli.errors import Carried, UserError, remember_keys, user_line
from transface.cli.study import stand_in_for_plugin


def conf_folder() -> Path:
    """Return the folder of YAML files: beside the package in a wheel, at the repository's root in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no conf/train.yaml in {package} or {package.parents[1]}: install transface again")


def run_verb(verb: str, argv: list[str], task: Callable[[DictConfig], Any], *, folder: Path | None = None) -> Any:
    """Compose conf/<verb>.yaml (or that of another folder) with the overrides in `argv` and call `task` with it, through Hydra.

    So -m and --cfg job work.
    """
    folder = folder or conf_folder()
    argv = hydra_words(argv, folder)
    stand_in_for_plugin()
    _remember(folder, verb, argv)
    program = sys.argv[0]
    sys.argv = [f"{program}", *argv]
    result: list[Any] = []

    def checked(cfg: DictConfig) -> Any:
        try:
            refuse_missing(cfg)
            OmegaConf.set_readonly(cfg, True)
            result.append(task(cfg))
        except Exception as error:
            if user_line(error) is None or os.environ.get("TRANSFACE_TRACEBACK") or HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            raise Carried(error) from error
        return result[-1]

    hydra.main(version_base="1.3", config_path=str(folder), config_name=verb)(checked)()
    return result[-1] if result else None


def _remember(folder: Path, verb: str, argv: list[str]) -> None:
    groups = [word for word in argv if "=" in word and "." not in word.split("=")[0] and (folder / word.split("=")[0].lstrip("+")).is_dir()]
    try:
        remember_keys(leaf_keys(compose(verb, groups)))
    except Exception:
        remember_keys([])


def compose(verb: str, overrides: list[str]) -> DictConfig:
    """Return conf/<verb>.yaml composed with overrides, without running anything."""
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra.compose(verb, overrides=overrides)


def leaf_keys(cfg: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of all keys of a config."""
    names: list[str] = []
    for key in cfg:
        name = f"{prefix}{key}"
        names.append(name)
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation() and not node._is_missing():
            names += leaf_keys(node, f"{name}.")
    return names


def refuse_missing(cfg: DictConfig) -> None:
    """Raise where a value is still `???`.

    Raises:
        UserError: naming every key that needs a value.
    """
    missing = sorted(name for name in OmegaConf.missing_keys(cfg) if not name.startswith("hydra."))
    if missing:
        raise UserError(f"no value for {', '.join(missing)}: give {'one' if len(missing) == 1 else 'them'}, e.g. {missing[0]}=...")


def instantiate(node: Any, **parts: Any) -> Any:
    """Build what `_target_` names from the node's other keys; the only call of Hydra's instantiate."""
    return hydra.utils.instantiate(node, **parts)


def plain(cfg: Any) -> Any:
    """Return a config as plain dicts and lists with every interpolation resolved."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg
