"""metrics.csv of a run, one row per logged step, that a resumed run goes on writing."""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter


class MetricsFile(CSVLogger):
    """Lightning's CSVLogger that keeps the rows of an earlier part of the same run.

    Args:
        folder: metrics.csv is written there.
        flush_every_n_steps: steps between writes.
    """

    def __init__(self, folder: str | Path, *, flush_every_n_steps: int = 50) -> None:
        super().__init__(str(folder), name="", version="", flush_logs_every_n_steps=flush_every_n_steps)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = _KeepingWriter(log_dir=self.log_dir)
        return self._experiment


class _KeepingWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.metrics_keys = list(next(csv.reader(file), []))


def forget_rows_after(path: Path, step: int) -> None:
    """Drop the rows of metrics.csv that lie after `step`: the resumed run writes them again."""
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or [])
        kept = [row for row in reader if int(float(row.get("step") or 0)) < step]
    fresh = path.with_name(f".{path.name}.fresh")
    with fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=names)
        writer.writeheader()
        writer.writerows(kept)
    fresh.replace(path)
