"""A run ends after so many validations without progress, counts validations and not epochs, and remembers the count
when it is resumed.
"""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from transface.training.callbacks.early_stopping import EarlyStopping
from transface.training.checkpoints.reader import complete_checkpoints
from transface.training.checkpoints.writer import CheckpointWriter


class Validation(lightning.Callback):
    """Measures the next of some values at every second step."""

    def __init__(self, values: list[float], *, every: int = 2) -> None:
        self.values, self.every = values, every

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step % self.every == 0:
            pl_module.validated_at = trainer.global_step
            trainer.callback_metrics["val/mean/accuracy"] = torch.tensor(
                self.values[trainer.global_step // self.every - 1]
            )


class StopAt(lightning.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise KeyError("killed")


@pytest.mark.parametrize(
    ("values", "settings", "expected"),
    [
        ([0.5, 0.6, 0.6, 0.55, 0.9], {"patience": 2}, 8),
        ([0.5, 0.6, 0.55, 0.7, 0.65, 0.6], {"patience": 2}, 12),
        ([0.5, 0.6, 0.7, 0.8], {"patience": 1, "min_delta": 0.2}, 4),
        ([0.5, 0.4, 0.3, 0.35], {"patience": 1, "mode": "min"}, 8),
    ],
)
def test_it_stops_after_patience_validations(
    make_module: Any, train_on_data: Any, values: list[float], settings: dict[str, Any], expected: int
) -> None:
    trainer = train_on_data(make_module(), [Validation(values), EarlyStopping(**settings)], max_epochs=4)
    assert trainer.global_step == expected


@pytest.mark.parametrize("killed_at", [4, 5, 6, 7, 8])
def test_a_resumed_run_stops_where_the_whole_one_does(
    make_module: Any, train_on_data: Any, tmp_path: Path, killed_at: int
) -> None:
    values = [0.5, 0.6, 0.6, 0.55, 0.9, 0.9]

    def parts() -> list[Any]:
        return [Validation(values), CheckpointWriter(tmp_path, every_n_steps=1), EarlyStopping(patience=2)]

    with pytest.raises(KeyError, match="killed"):
        train_on_data(make_module(), [*parts(), StopAt(killed_at)], max_epochs=4)
    saved = complete_checkpoints(tmp_path)[-1]
    assert saved.name == f"step-{killed_at:09d}"
    assert train_on_data(make_module(), parts(), max_epochs=4, ckpt_path=saved / "trainer.ckpt").global_step == 8


def test_without_its_metric_it_stops_nothing_and_bad_settings_are_refused(make_module: Any, train: Any) -> None:
    assert train(make_module(), [EarlyStopping(patience=1)], steps=4).global_step == 4
    with pytest.raises(ValueError, match="patience must be at least 1"):
        EarlyStopping(patience=0)
    with pytest.raises(ValueError, match='mode must be "max", "min" or null'):
        EarlyStopping(mode="best")  # type: ignore[arg-type]


def test_a_metric_that_no_validation_measures_is_told_of_once(
    make_module: Any, train_on_data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    train_on_data(
        make_module(), [Validation([0.5] * 40), EarlyStopping(monitor="val/lfw/accuracy", patience=1)], max_epochs=4
    )
    said = [
        record.getMessage() for record in caplog.records if "val/lfw/accuracy is not measured" in record.getMessage()
    ]
    assert len(said) == 1
    assert "there are val/mean/accuracy" in said[0]
