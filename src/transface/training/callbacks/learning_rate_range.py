"""Which learning rate? The loss over rates that grow from step to step, as a table and a picture, with the rate at
which it falls steepest.

Range test: Smith, "Cyclical learning rates for training neural networks" (WACV 2017, arXiv 1506.01186), section 3.3.
Not Lightning's finder: it leaves out sharded centres, forgets layer-wise rates, and takes the slope over the rate where
its logarithm grows (docs/experiments.md).
"""

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch.optim import Optimizer

from transface.artifacts import write_whole, writing_file
from transface.distributed import all_reduce_sum, world_size

TABLE, PICTURE = "learning_rates.csv", "learning_rates.png"
SMOOTHING = 4.0  # steps, the width of the bell
FEWEST = 10


class LearningRateRange(Callback):
    """Takes `num_steps` optimizer steps at rates from `lowest` to `highest`, writes learning_rates.csv and .png, says
    what it suggests, and ends the run.

    Groups keep their share of the rate (layer-wise rates). Works with accumulation and on several ranks.

    Args:
        folder: where the two files go; rank 0 writes them.
        lowest, highest: the first and the last rate; they grow by a constant factor.
        num_steps: how many.
        stop_at: the search ends where the smoothed loss is so many times the least one.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        lowest: float = 1e-6,
        highest: float = 1.0,
        num_steps: int = 100,
        stop_at: float = 4.0,
    ) -> None:
        if not 0 < lowest < highest or num_steps < FEWEST or stop_at <= 1:
            got = f"lowest={lowest}, highest={highest}, num_steps={num_steps}, stop_at={stop_at}"
            raise ValueError(f"want 0 < lowest < highest, at least {FEWEST} steps and stop_at above 1, got {got}")
        self.folder = Path(folder)
        self.rates = np.geomspace(lowest, highest, num_steps)
        self._ended = False
        self.stop_at = stop_at
        self.losses: list[float] = []
        self.suggestion: float | None = None
        self._shares: list[float] = []
        self._loss = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rates = [float(group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups]
        largest = max(rates, default=0.0)
        if largest <= 0:
            raise ValueError(
                "the learning rates of the run begin at 0: take schedule=constant without warm-up to search for one"
            )
        self._shares = [rate / largest for rate in rates]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        for group, share in zip(groups, self._shares, strict=True):
            group["lr"] = share * float(self.rates[min(len(self.losses), len(self.rates) - 1)])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._loss += (
            float(all_reduce_sum(outputs["loss"].detach())) / world_size()
        )  # Lightning has divided it by the accumulated batches
        if trainer.fit_loop._should_accumulate():
            return
        self.losses.append(self._loss)
        self._loss = 0.0
        smoothed = steepest(self.rates[: len(self.losses)], np.array(self.losses)).smoothed
        if len(self.losses) == len(self.rates) or not smoothed[-1] <= self.stop_at * smoothed.min():
            self._ended = trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = steepest(self.rates[: len(self.losses)], np.array(self.losses))
        self.suggestion = found.rate
        if not trainer.is_global_zero:
            return
        table = io.StringIO(newline="")
        rows = csv.writer(table)
        rows.writerow(["learning_rate", "loss", "smoothed_loss"])
        rows.writerows(zip(self.rates.tolist(), self.losses, found.smoothed.tolist(), strict=False))
        write_whole(self.folder / TABLE, table.getvalue())
        draw(self.folder / PICTURE, self.rates[: len(self.losses)], np.array(self.losses), found)
        said = (
            f"suggested: optimizer.lr={found.rate:.2g}"
            if found.rate is not None
            else "no rate is suggested: the loss never fell"
        )
        count = f"{len(self.losses)} of {len(self.rates)} rates"
        cut = (
            ""
            if self._ended
            else "; the run ended before the search: leave trainer.max_steps and max_epochs as they are"
        )
        print(f"{said} ({count}: {self.folder / TABLE}, {self.folder / PICTURE}){cut}", flush=True)


class Steepest(NamedTuple):
    """The rate at which the smoothed loss falls steepest over the logarithm of the rate, or None if it never falls; and
    that loss (S,).
    """

    rate: float | None
    smoothed: NDArray[np.float64]


def steepest(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> Steepest:
    """Return where losses (S,) over growing rates (S,) fall steepest; smoothed to both sides, so that the place is not
    moved.

    What follows the first loss that is not finite does not count.
    """
    num_finite = int(np.cumprod(np.isfinite(losses)).sum())
    smoothed = np.full(len(losses), np.nan)
    smoothed[:num_finite] = gaussian_filter1d(losses[:num_finite], SMOOTHING, mode="nearest")
    if num_finite < FEWEST:
        return Steepest(None, smoothed)
    slopes = np.gradient(smoothed[:num_finite], np.log(rates[:num_finite]))
    place = int(np.argmin(slopes))
    return Steepest(float(rates[place]) if slopes[place] < 0 else None, smoothed)


def draw(path: Path, rates: NDArray[np.float64], losses: NDArray[np.float64], found: Steepest) -> None:
    """Draw the losses over the rates, and the suggestion, into a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="0.75", linewidth=0.8, label="loss")
    axes.plot(rates, found.smoothed, label="smoothed")
    if found.rate is not None:
        axes.axvline(found.rate, color="tab:red", linewidth=1, label=f"steepest: {found.rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.legend(frameon=False)
    with writing_file(path) as file:
        figure.savefig(file, format="png")
