"""Accuracy of one of several classes on a labelled set, with intervals and the confusion table.

Shapes: M images, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.evaluation.labelled import LabelledSource
from transface.evaluation.protocol import NothingToMeasureError
from transface.evaluation.results import HardSample, Measure, Result, ResultTable
from transface.evaluation.runner import ModelRunner
from transface.metrics.bootstrap import mean_interval

NUM_HARDEST = 8


class Classification:
    """A protocol: which of several classes is on every image of a labelled set.

    Args:
        source: images whose labels are whole numbers (M,), the class; below 0: unknown, left out.
        output: the name of the network's answer, of kind "one_of".
        num_bootstraps: replicates of the intervals; 0: none.
        seed: of the replicates.

    Raises:
        ValueError: for labels that are no classes.
    """

    def __init__(self, source: LabelledSource, *, output: str, num_bootstraps: int = 1000, seed: int = 0) -> None:
        self.source = source
        self.output = output
        self.num_bootstraps = num_bootstraps
        self.seed = seed
        self.names = [source.name]

    def prepare(self) -> None:
        """Look at the labels, so that a set that cannot be is known before the first step."""
        self._truth()

    def _truth(self) -> NDArray[np.int64]:
        truth = self.source.truth()
        if truth.ndim != 1 or not np.issubdtype(truth.dtype, np.integer):
            raise ValueError(
                f"{self.source.name}: classes must be one whole number an image, got {truth.dtype} of shape"
                f" {truth.shape}"
            )
        return truth.astype(np.int64)

    def evaluate(self, runner: ModelRunner, *, detailed: bool = True) -> list[Result]:
        """Return the Result: accuracy, and the mean of the classes' own accuracies (balanced).

        Raises:
            ValueError: if the network has no such output, or labels of classes it does not know.
        """
        runner.require([self.output])
        names = runner.outputs[self.output].names
        truth = self._truth()
        if len(truth) and truth.max() >= len(names):
            raise ValueError(
                f"{self.source.name} has class {truth.max()}, and the network's {self.output} knows {len(names)}:"
                f" {', '.join(names)}"
            )
        if not (truth >= 0).any():
            raise NothingToMeasureError(f"{self.source.name} has no image whose {self.output} is known")
        logits = runner.run(self.source, [self.output])[self.output]
        known = np.flatnonzero(truth >= 0)
        answered, right = logits.argmax(1)[known], truth[known]
        correct = answered == right
        confusion = np.zeros((len(names), len(names)), dtype=np.int64)
        np.add.at(confusion, (right, answered), 1)
        return [self._result(names, correct, confusion, logits[known], known, detailed=detailed)]

    def _result(
        self,
        names: tuple[str, ...],
        correct: NDArray[np.bool_],
        confusion: NDArray[np.int64],
        logits: NDArray[np.float32],
        known: NDArray[np.int64],
        *,
        detailed: bool,
    ) -> Result:
        sizes = confusion.sum(1)
        present = sizes > 0
        recalls = confusion.diagonal()[present] / sizes[present]
        interval = (
            mean_interval(correct.astype(float), num_bootstraps=self.num_bootstraps, seed=self.seed, rate=True)
            if detailed
            else None
        )
        accuracy = Measure("accuracy", float(correct.mean()), *(interval or (None, None)))
        measures = (
            accuracy,
            Measure("balanced_accuracy", float(recalls.mean())),
            Measure("majority", float(sizes.max() / sizes.sum()), better=None),
        )
        counts = {"images": len(correct), "classes": int(present.sum())}
        base: dict[str, Any] = {
            "protocol": "classification",
            "name": self.source.name,
            "mode": self.output,
            "kind": "classes",
        }
        if not detailed:
            return Result(**base, measures=measures, counts=counts)
        rows: dict[str, list[Measure | None]] = {
            name: [
                *(
                    Measure(f"as {other}", float(n / max(sizes[k], 1)), better=None)
                    for other, n in zip(names, confusion[k], strict=True)
                )
            ]
            for k, name in enumerate(names)
        }
        truth = self._truth()
        return Result(
            **base,
            measures=measures,
            counts=counts,
            tables={"Confusion": ResultTable([f"as {name}" for name in names], rows)},
            hardest={"Surest mistakes": self._hardest(names, correct, logits, known, truth)},
            samples_hash=self.source.samples_hash(truth),
            arrays={"correct": correct, "logits": logits},
        )

    def _hardest(
        self,
        names: tuple[str, ...],
        correct: NDArray[np.bool_],
        logits: NDArray[np.float32],
        known: NDArray[np.int64],
        truth: NDArray[np.int64],
    ) -> tuple[HardSample, ...]:
        wrong = np.flatnonzero(~correct)
        margin = logits[wrong].max(1) - logits[wrong, truth[known[wrong]]]
        chosen = wrong[np.argsort(-margin, kind="stable")[:NUM_HARDEST]]
        return tuple(
            HardSample(
                int(known[k]),
                self.source.dataset.name(int(known[k])),
                names[int(logits[k].argmax())],
                names[int(truth[known[k]])],
            )
            for k in chosen.tolist()
        )
