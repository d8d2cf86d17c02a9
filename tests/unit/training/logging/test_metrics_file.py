"""metrics.csv of a run: each row on disk at once, nothing lost when columns come, and a resumed run's own part
forgotten exactly.
"""

import csv
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from transface.training.checkpoints.writer import CheckpointWriter
from transface.training.logging import metrics_file
from transface.training.logging.metrics_file import MetricsFile, forget_rows_after

HEADER = "epoch,speed/images_per_second,step,train/loss,val/mean/accuracy"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_is_on_disk_when_it_is_logged_and_survives_new_columns(tmp_path: Path) -> None:
    logger = MetricsFile(tmp_path)
    logger.log_metrics({"train/loss": 2.0}, step=3)
    assert [row["train/loss"] for row in rows(tmp_path)] == ["2.0"]
    logger.log_metrics({"val/mean/accuracy": 0.5}, step=4)
    assert [(row["step"], row["train/loss"], row["val/mean/accuracy"]) for row in rows(tmp_path)] == [
        ("3", "2.0", ""),
        ("4", "", "0.5"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_second_logger_goes_on_with_the_rows_of_the_first(tmp_path: Path) -> None:
    MetricsFile(tmp_path).log_metrics({"train/loss": 2.0}, step=3)
    MetricsFile(tmp_path).log_metrics({"train/loss": 1.0, "lr": 0.1}, step=4)
    assert [(row["train/loss"], row["lr"]) for row in rows(tmp_path)] == [("2.0", ""), ("1.0", "0.1")]


def test_what_a_resumed_run_writes_again_is_dropped_and_the_validation_of_its_step_kept(tmp_path: Path) -> None:
    lines = [HEADER, "0,,3,2.0,", "0,,4,,0.5", "0,90,4,,", "0,,4,1.9,", "0,,5,1.8,", "0,,6,,0.6", "0,,7,1."]
    (tmp_path / "metrics.csv").write_text("\n".join(lines))
    forget_rows_after(tmp_path / "metrics.csv", 4)
    assert (tmp_path / "metrics.csv").read_text().split() == lines[:4]


def test_a_row_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(f"{HEADER}\n0,,3,2.0,\n0,,4")
    forget_rows_after(tmp_path / "metrics.csv", 9)
    assert [row["step"] for row in rows(tmp_path)] == ["3"]
    forget_rows_after(tmp_path / "absent.csv", 9)


def test_the_rows_are_synced_with_every_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(metrics_file, "sync", synced.append)
    logger = MetricsFile(tmp_path)
    logger.sync()  # no rows yet
    assert not synced
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=4,
        logger=logger,
        callbacks=[CheckpointWriter(tmp_path / "checkpoints", every_n_steps=2)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        accelerator="cpu",
        log_every_n_steps=1,
    )
    logger.log_metrics({"train/loss": 2.0}, step=0)
    trainer.fit(BoringModel())
    assert len(synced) >= 2
    assert set(synced) == {tmp_path / "metrics.csv"}


def test_a_disk_that_is_full_from_the_start_leaves_no_file_without_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(metrics_file, "write_whole", full)
    logger = MetricsFile(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        logger.log_metrics({"train/loss": 1.0}, step=0)
    assert not (tmp_path / "metrics.csv").exists()
