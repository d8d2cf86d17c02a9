"""metrics.csv of a run, one row per logged step, that a resumed run appends to."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from transface.artifacts import sync, write_whole


class MetricsFile(CSVLogger):
    """Lightning's CSVLogger that keeps the rows of an earlier part of the same run, and has each row on disk before the
    next checkpoint.

    Args:
        folder: metrics.csv is written there.
        flush_every_n_steps: rows of steps whose number plus one is a multiple of it are written at once; more than 1
            may lose rows to a kill.
    """

    def __init__(self, folder: str | Path, *, flush_every_n_steps: int = 1) -> None:
        super().__init__(str(folder), name="", version="", flush_logs_every_n_steps=flush_every_n_steps)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = _KeepingWriter(log_dir=self.log_dir)
        return self._experiment

    def sync(self) -> None:
        """Wait until the rows so far are on the disk: a checkpoint that outlives a power cut has its curve too."""
        path = Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE
        if path.is_file():
            sync(path)


class _KeepingWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.metrics_keys = list(next(csv.reader(file), []))

    def save(self) -> None:
        path = Path(self.metrics_file_path)
        if self.metrics and not path.is_file():  # a full disk would leave an empty file
            self._record_new_keys()
            write_rows(path, list(self.metrics_keys), [])
        super().save()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        write_rows(path, fieldnames, rows)


def forget_rows_after(path: Path, step: int) -> None:
    """Drop the rows of metrics.csv that the run resumed at `step` writes again, and a last one that a kill cut short.

    A validation and the speed up to `step` were logged with that number before the checkpoint was written; a row of
    training with it is the next.
    """
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or [])
        rows = [row for row in reader if None not in row.values()]
    write_rows(
        path, names, [row for row in rows if _row_step(row) < step or (_row_step(row) == step and _is_of_before(row))]
    )


def _row_step(row: dict[str, str]) -> int:
    return int(float(row.get("step") or 0))


def _is_of_before(row: dict[str, str]) -> bool:
    return any(value and name.startswith(("val/", "speed/")) for name, value in row.items())


def write_rows(path: Path, names: list[str], rows: list[dict[str, str]]) -> None:
    """Write a CSV file with a header, in one move: it is there whole or as it was."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=names)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())
