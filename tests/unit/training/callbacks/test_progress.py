"""The lines of a run where there is no terminal."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from transface.training.callbacks.progress import FaceProgressBar


def test_the_end_of_training_names_the_last_epoch_and_repeats_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    bar = FaceProgressBar(line_seconds=0.0)
    trainer: Any = SimpleNamespace(
        global_step=4,
        current_epoch=1,
        world_size=1,
        is_global_zero=True,
        callback_metrics={"train/loss": torch.tensor(2.0)},
        estimated_stepping_batches=4,
        callbacks=[],
    )
    assert bar._plain
    bar._rate = 50.0
    bar._mark = (float("inf"), 0)
    bar.on_train_batch_end(trainer, cast(Any, SimpleNamespace()), None, torch.zeros(2, 3), 1)
    trainer.current_epoch = 2  # as Lightning has it after the last epoch
    bar.on_train_end(trainer, cast(Any, SimpleNamespace()))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["step 4, epoch 1, loss 2.000, 50 images/s, 0 s left"]
