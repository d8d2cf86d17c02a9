"""Loggers of a run; one whose package is not installed is refused in a line."""

import sys
from typing import Any

from omegaconf import DictConfig

from transface.cli.compose import instantiate
from transface.cli.errors import UserError, causes

PACKAGES = {"TensorBoardLogger": "tensorboard", "WandbLogger": "wandb", "MLFlowLogger": "mlflow", "CometLogger": "comet-ml", "NeptuneLogger": "neptune"}


def make_loggers(cfg: DictConfig) -> list[Any]:
    """Return the loggers of a config's `logger` group, in order.

    Raises:
        UserError: naming the package to install.
    """
    return [_make(name, node) for name, node in cfg.items() if node]


def _make(name: Any, node: DictConfig) -> Any:
    try:
        return instantiate(node)
    except Exception as error:
        absent = [cause for cause in causes(error) if isinstance(cause, ModuleNotFoundError)]
        if not absent:
            raise
        package = PACKAGES.get(str(node.get("_target_")).rpartition(".")[2], absent[0].name or str(name))
        raise UserError(f"logger.{name} needs a package that is not installed: pip install {package}, or take logger=csv_tensorboard") from error


def close_loggers() -> None:
    """End what a logger keeps for the whole process: W&B would write the next trial of a sweep into the run of the one before."""
    wandb: Any = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish()
