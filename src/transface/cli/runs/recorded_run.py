"""`transface train run=DIR`: the run that DIR holds, once more, from the config it recorded."""

import atexit
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from transface.cli.config.errors import UserError
from transface.cli.config.folder import conf_folder
from transface.cli.runs.run_folder import COMPOSED, RESOLVED

HYDRA_WORDS = [
    "hydra.run.dir=${paths.run}",
    "hydra.job.chdir=false",
    "hydra.job.name=train",
    "hydra.job_logging.handlers.console.stream='ext://sys.stderr'",
    "+hydra.job_logging.handlers.console.level=WARNING",
]


class Repeat(NamedTuple):
    """Where Hydra finds the recorded config, and the words to compose it with."""

    folder: Path
    name: str
    words: list[str]


def repeat_of(argv: list[str]) -> Repeat | None:
    """Return how to repeat the run named by a `run=DIR` word, or None if there is no such word.

    The repeat goes into DIR, whose run moves to DIR/previous, or to the folder of another `name`. Other words change
    settings, as ever.

    Raises:
        UserError: if DIR holds no recorded config, or a group is chosen (the recorded config has no groups left).
    """
    named = [word for word in argv if word.startswith("run=")]
    if not named:
        return None
    if "-m" in argv or "--multirun" in argv:
        raise UserError("run=DIR repeats one run: leave out -m")
    folder = Path(named[-1][4:])
    others = [word for word in argv if word not in named]
    keys = [word.lstrip("+").split("=")[0] for word in others]
    groups = [key for key in keys if (conf_folder() / key).is_dir()]
    if groups:
        raise UserError(
            f"run= repeats a recorded run, whose parts are chosen: change {groups[0]} by its keys"
            f" ({groups[0]}.KEY=VALUE), or start from an experiment"
        )
    resume = [] if "resume" in keys else ["resume=false"]
    words = [*others, *_place(folder, keys), *resume, *HYDRA_WORDS]
    if (folder / COMPOSED).is_file():
        return Repeat(folder.resolve(), COMPOSED.removesuffix(".yaml"), words)
    if not (folder / RESOLVED).is_file():
        raise UserError(f"no {RESOLVED} in {folder}: run= takes the folder of a run, e.g. run=runs/demo")
    if set(keys) - {"resume", "name", "paths.run"}:
        raise UserError(
            f"{folder} has no {COMPOSED}, and in {RESOLVED} no setting follows another: only name=, paths.run= and"
            " resume= can be given"
        )
    return Repeat(_loosened(folder), RESOLVED.removesuffix(".yaml"), words)


def _place(folder: Path, keys: list[str]) -> list[str]:
    if "paths.run" in keys:
        return []
    quoted = str(folder).replace("'", "\\'")
    return ["paths.run='${paths.runs}/${name}'"] if "name" in keys else [f"paths.run='{quoted}'"]


def _loosened(folder: Path) -> Path:
    """Return a folder, kept until the process ends, with the resolved config in which paths follow `paths.run`
    again.
    """
    config: Any = OmegaConf.to_container(OmegaConf.load(folder / RESOLVED))
    before = config["paths"].pop("run")
    config = following(config, before)
    config["paths"]["run"] = before
    place = tempfile.TemporaryDirectory(prefix="transface-run-")
    atexit.register(place.cleanup)
    OmegaConf.save(OmegaConf.create(config), Path(place.name) / RESOLVED)
    return Path(place.name)


def following(config: Any, run: str) -> Any:
    """Return a resolved config in which every path at or below the run's folder is written as ${paths.run}/..."""
    if isinstance(config, dict):
        return {key: following(value, run) for key, value in config.items()}
    if isinstance(config, list):
        return [following(value, run) for value in config]
    if isinstance(config, str) and (config == run or config.startswith(f"{run}/")):
        return "${paths.run}" + config[len(run) :]
    return config
