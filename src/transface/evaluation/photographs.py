"""One label of a set of photographs: an age by its mean absolute error, one of several classes by accuracy.

Shapes: M images.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transface.backbones.features import Output
from transface.data.labels.expressions import ClassLabels
from transface.data.sampling.splits import SHARES
from transface.data.sources.face_labels import SetKind
from transface.data.sources.labelled import LabelledImages
from transface.data.sources.labelled_set import LabelledSet
from transface.evaluation.classes.classification import Classification
from transface.evaluation.labelled import LabelledSource
from transface.evaluation.occluded_faces import renamed
from transface.evaluation.results import Result
from transface.evaluation.runner import ModelRunner
from transface.evaluation.values.regression import Regression
from transface.images.fit import Fit

logger = logging.getLogger(__name__)


class Photographs:
    """A protocol: expression, gender, age or any class on a split of a labelled set.

    Args:
        root, kind, fit, shares, split_seed: as LabelledSet takes them.
        column: which label.
        output: the network's answer; None: named as the label.
        split: "train", "val" or "test".
        tolerances: of the cumulative score of ages.
        num_bootstraps, seed: of intervals.
        name: of the set in results; None: the folder's, and the split.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        column: str,
        output: str | None = None,
        kind: SetKind | None = None,
        split: str = "test",
        fit: Fit = "refuse",
        shares: Sequence[float] = SHARES,
        split_seed: int = 0,
        tolerances: Sequence[float] = (5.0,),
        num_bootstraps: int = 1000,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        self.root = Path(root)
        self.column = column
        self.output = output or column
        self.split = split
        self.settings: dict[str, Any] = {"kind": kind, "fit": fit, "shares": shares, "split_seed": split_seed}
        self.tolerances = tuple(tolerances)
        self.num_bootstraps, self.seed = num_bootstraps, seed
        self.names = [name or f"{self.root.stem}_{split}"]
        self._opened: LabelledSet | None = None

    def prepare(self) -> None:
        """Read the labels, so that what is missing is known before the first step."""
        self.opened().rows(self.split)

    def opened(self) -> LabelledSet:
        """Return the set, read once."""
        if self._opened is None:
            self._opened = LabelledSet(self.root, columns=[self.column], **self.settings)
        return self._opened

    def image_names(self) -> list[str]:
        """Return the names of the images that are measured on, as errors have them."""
        return self.opened().names(self.split)

    def evaluate(self, runner: ModelRunner, *, detailed: bool = True) -> list[Result]:
        """Return the Result.

        Raises:
            ValueError: if the network has no such answer, or answers with other words.
        """
        runner.require([self.output])
        output, opened = runner.outputs[self.output], self.opened()
        opened.images.image_size = runner.image_size_for([self.output])
        source = LabelledSource(self.names[0], opened.labelled(self.split, self.column))
        settings: dict[str, Any] = {"output": self.output, "num_bootstraps": self.num_bootstraps, "seed": self.seed}
        if output.kind == "one_of":
            self._tell_unanswered(source, output)
            return Classification(_known(renamed(source, output, partial=True)), **settings).evaluate(
                runner, detailed=detailed
            )
        return Regression(source, tolerances=self.tolerances, **settings).evaluate(runner, detailed=detailed)

    def _tell_unanswered(self, source: LabelledSource, output: Output) -> None:
        """Warn of images of classes that the network has no word for: they are left out."""
        labels: Any = source.dataset.labels
        numbers = np.bincount(labels.classes[source.dataset.rows] + 1, minlength=len(labels.names) + 1)[1:]
        left = [
            f"{count} of {name}"
            for name, count in zip(labels.names, numbers.tolist(), strict=True)
            if count and name not in output.names
        ]
        if left and set(labels.names) & set(output.names):  # else it is refused
            logger.warning(
                "%s: the network has no such answer as some images' class, which are left out: %s",
                self.names[0],
                ", ".join(left),
            )


def _known(source: LabelledSource) -> LabelledSource:
    """Return the source without images whose class the network has no word for."""
    labels: Any = source.dataset.labels
    assert isinstance(labels, ClassLabels)
    rows = source.dataset.rows
    source.dataset = LabelledImages(source.dataset.images, labels, rows=rows[labels.classes[rows] >= 0])
    return source
