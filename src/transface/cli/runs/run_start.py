"""Writes into a run's folder at its first step and no sooner: a run refused before it leaves no trace of one."""

from collections.abc import Callable
from typing import Any

from lightning import Callback, LightningModule, Trainer


class RunStart(Callback):
    """Calls `begin` once, when everything is built and checked, and gives the trainer its loggers, which write files as
    soon as they are used. It must be the first callback.

    Args:
        begin: makes the folder ready and records the run in it; every rank calls it, with the loggers.
        loggers: of the trainer.
    """

    def __init__(self, begin: Callable[[list[Any]], None], loggers: list[Any]) -> None:
        self._begin = begin
        self._loggers = loggers
        self._begun = False

    @property
    def begun(self) -> bool:
        """Whether the run has begun: one that had ended before takes no step."""
        return self._begun

    @classmethod
    def put_before(cls, trainer: Any, begin: Callable[[list[Any]], None]) -> "RunStart":
        """Take the loggers of a trainer until its first step, and return the callback that it begins with."""
        made = cls(begin, list(trainer.loggers))
        trainer.loggers = []
        trainer.callbacks.insert(0, made)
        return made

    def begin(self, trainer: Any) -> None:
        """Begin the run, if it has not begun."""
        if self._begun:
            return
        self._begun = True
        self._begin(self._loggers)
        trainer.strategy.barrier("the run's folder is ready")
        trainer.loggers = self._loggers

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begin(trainer)
