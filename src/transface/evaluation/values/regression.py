"""Mean absolute error of a number on a labelled set, with its interval and the cumulative score.

Shapes: M images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.evaluation.labelled import LabelledSource
from transface.evaluation.protocol import NothingToMeasureError
from transface.evaluation.results import Curve, Measure, Result
from transface.evaluation.runner import ModelRunner
from transface.metrics.bootstrap import mean_interval


class Regression:
    """A protocol: how far a number (an age) is from the truth on every image of a labelled set.

    Args:
        source: images whose labels are numbers (M,); NaN: unknown, left out.
        output: the name of the network's answer, of kind "number".
        tolerances: cumulative scores are told for these: the share of images whose error is at most so large.
        num_bootstraps: replicates of the intervals; 0: none.
        seed: of the replicates.
    """

    def __init__(
        self,
        source: LabelledSource,
        *,
        output: str,
        tolerances: Sequence[float] = (5.0,),
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.output = output
        self.tolerances = tuple(tolerances)
        self.num_bootstraps = num_bootstraps
        self.seed = seed
        self.names = [source.name]

    def prepare(self) -> None:
        """Look at the labels, so that a set that cannot be is known before the first step."""
        self._truth()

    def _truth(self) -> NDArray[np.float64]:
        truth = self.source.truth()
        if truth.ndim != 1 or not np.issubdtype(truth.dtype, np.number):
            raise ValueError(
                f"{self.source.name}: labels must be one number an image, got {truth.dtype} of shape {truth.shape}"
            )
        return truth.astype(np.float64)

    def evaluate(self, runner: ModelRunner, *, detailed: bool = True) -> list[Result]:
        """Return the Result: the mean absolute error ("mae", lower is better) and the cumulative scores.

        Raises:
            ValueError: if the network has no such output, or no label is known.
        """
        runner.require([self.output])
        unit = runner.outputs[self.output].unit
        truth = self._truth()
        known = np.isfinite(truth)
        if not known.any():
            raise NothingToMeasureError(f"{self.source.name} has no image whose {self.output} is known")
        answers = runner.run(self.source, [self.output])[self.output].astype(np.float64)
        values = answers[:, 0] if answers.ndim == 2 else answers
        error = np.abs(values - truth)[known]
        interval = mean_interval(error, num_bootstraps=self.num_bootstraps, seed=self.seed) if detailed else None
        low, high = interval or (None, None)
        measures = [Measure("mae", float(error.mean()), low, high, unit=unit, better="lower")]
        measures += [self._score(error, tolerance, detailed=detailed) for tolerance in self.tolerances]
        base: dict[str, Any] = {
            "protocol": "regression",
            "name": self.source.name,
            "mode": self.output,
            "kind": "values",
        }
        counts = {"images": int(known.sum())}
        if not detailed:
            return [Result(**base, measures=tuple(measures), counts=counts)]
        grid = np.linspace(0, float(np.quantile(error, 0.99)) or 1.0, 101)
        shares = [float((error <= edge).mean()) for edge in grid]
        curve = Curve(grid.tolist(), shares, f"absolute error{f' ({unit})' if unit else ''}", "share of images")
        return [
            Result(
                **base,
                measures=tuple(measures),
                counts=counts,
                curves={"Cumulative score": curve},
                samples_hash=self.source.samples_hash(truth),
                arrays={"error": error, "answer": values[known], "truth": truth[known]},
            )
        ]

    def _score(self, error: NDArray[np.float64], tolerance: float, *, detailed: bool) -> Measure:
        within = (error <= tolerance).astype(float)
        interval = (
            mean_interval(within, num_bootstraps=self.num_bootstraps, seed=self.seed, rate=True) if detailed else None
        )
        return Measure(f"cs@{tolerance:g}", float(within.mean()), *(interval or (None, None)))
