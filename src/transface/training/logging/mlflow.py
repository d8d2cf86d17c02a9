"""Lightning's MLflow logger for metrics that lie below one another: MLflow keeps `train/loss` and `train/loss/margin`
as a file and a folder of one name.
"""

from collections.abc import Mapping

from lightning.pytorch.loggers import MLFlowLogger

TOTALS = {"train/loss": "train/loss/total"}


class MLflowRun(MLFlowLogger):
    """MLFlowLogger that logs a total beside its terms; takes the same arguments."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({TOTALS.get(name, name): value for name, value in metrics.items()}, step)
