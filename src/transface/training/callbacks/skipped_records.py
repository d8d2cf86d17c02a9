"""Lets the data module tell at the end of each epoch how many records were skipped, and stop a run in which they are
too many.
"""

from typing import Any

from lightning import Callback, LightningModule, Trainer


class SkippedRecords(Callback):
    """Calls `end_epoch()` of the trainer's data module, where it has one."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        end_epoch = getattr(data, "end_epoch", None)
        if end_epoch is not None:
            end_epoch()
