"""No metric that a run logs to MLflow is a folder of another: MLflow's file store keeps each in a file of its name."""

from typing import Any

import pytest
from lightning.pytorch.loggers import MLFlowLogger

from transface.training.logging.mlflow import MLflowRun


def test_the_total_lies_beside_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[dict[str, float], int | None]] = []
    monkeypatch.setattr(MLFlowLogger, "log_metrics", lambda self, metrics, step=None: logged.append((metrics, step)))
    run: Any = MLflowRun.__new__(MLflowRun)  # mlflow need not be installed
    run.log_metrics({"train/loss": 3.0, "train/loss/margin": 3.0, "val/lfw/accuracy": 0.5}, step=4)
    assert logged == [({"train/loss/total": 3.0, "train/loss/margin": 3.0, "val/lfw/accuracy": 0.5}, 4)]
