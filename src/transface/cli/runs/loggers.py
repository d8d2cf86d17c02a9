"""Loggers of a run: built, told the run's config, closed; one whose package is not installed is refused in a line."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transface.artifacts import write_whole
from transface.cli.config.compose import instantiate
from transface.cli.config.errors import UserError, causes

PACKAGES = {
    "TensorBoardLogger": "tensorboard",
    "WandbLogger": "wandb",
    "MLflowRun": "mlflow",
    "CometLogger": "comet-ml",
    "NeptuneLogger": "neptune",
}
# A resumed run continues in the same run of the service: its id is kept in the run's folder, under the name of this
# argument.
SAME_RUN = {"WandbLogger": "id", "MLflowRun": "run_id"}


def make_loggers(cfg: DictConfig, *, folder: Path | None = None) -> list[Any]:
    """Return the loggers of a config's `logger` group, in order; those of a service continue the run noted in
    `folder`.

    Raises:
        UserError: naming the package to install.
    """
    return [_make(name, node, folder) for name, node in cfg.items() if node]


def _make(name: Any, node: DictConfig, folder: Path | None) -> Any:
    kind = str(node.get("_target_")).rpartition(".")[2]
    try:
        return instantiate(node, **_same_run(kind, folder))
    except Exception as error:
        absent = [cause for cause in causes(error) if isinstance(cause, ModuleNotFoundError)]
        if not absent:
            raise
        package = PACKAGES.get(kind, absent[0].name or str(name))
        raise UserError(
            f"logger.{name} needs a package that is not installed: pip install {package}, or take"
            " logger=csv_tensorboard"
        ) from error


def _same_run(kind: str, folder: Path | None) -> dict[str, str]:
    note = _note(kind, folder)
    return {SAME_RUN[kind]: note.read_text(encoding="utf-8").strip()} if note is not None and note.is_file() else {}


def _note(kind: str, folder: Path | None) -> Path | None:
    return folder / f".{kind}.run" if folder is not None and kind in SAME_RUN else None


def log_config(loggers: Sequence[Any], config: dict[str, Any], *, folder: Path) -> None:
    """Hand a new run's config to the loggers that show one, and note which run of a service this is; rank 0 calls
    it.
    """
    for logger in loggers:
        kind = type(logger).__name__
        note = _note(kind, folder)
        if kind in PACKAGES and not (note is not None and note.is_file()):
            logger.log_hyperparams(config)
        if note is not None and logger.version:
            write_whole(note, f"{logger.version}\n")


def close_loggers() -> None:
    """End what a logger keeps for the whole process: W&B would write the next trial of a sweep into the run of the one
    before.
    """
    wandb: Any = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish()
