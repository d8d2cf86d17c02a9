"""Accuracy of attributes on a labelled set: per attribute and on average, beside what the majority's answer gets.

Shapes: M images, A attributes.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.backbones.features import image_sides
from transface.data.sources.attributes.attribute_set import AttributeSet, Split
from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.image_files import ImageFiles, PathTable
from transface.data.sources.labelled import LabelledImages
from transface.evaluation.labelled import LabelledSource
from transface.evaluation.protocol import NothingToMeasureError
from transface.evaluation.results import Measure, Result, ResultTable, hash_samples
from transface.evaluation.runner import ModelRunner
from transface.images.fit import Fit
from transface.metrics.attribute_accuracy import (
    attribute_counts,
    average_precision,
    best_thresholds,
    calibration_error,
    majority_accuracy,
)
from transface.metrics.bootstrap import mean_interval
from transface.told_once import warn_once

logger = logging.getLogger(__name__)


class Attributes:
    """A protocol: the attributes of a split of CelebA, LFWA or a table of one's own, at probability 0.5.

    Args:
        root, labels, without, val_identity_share, unknown: as open_attributes takes them; labels None: those of the
        network.
        split: "test", "val", "train", "trainval" or "all".
        output: the network's answer, of kind "several_of".
        image_size: of every image; None: the network's.
        fit: what happens to images of another size.
        reliable: the attributes whose mean is given apart, e.g. those that two people label alike.
        num_bootstraps, seed: of intervals over people (over images where people are not known).
        name: of the set in results; None: the folder's.

    Raises:
        FileNotFoundError, ValueError: as open_attributes says; a split without images.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        split: Split = "test",
        output: str = "attributes",
        labels: Sequence[str] | None = None,
        without: Sequence[str] = (),
        val_identity_share: float = 0.1,
        unknown: int | None = None,
        image_size: int | Sequence[int] | None = None,
        fit: Fit = "refuse",
        reliable: Sequence[str] = (),
        num_bootstraps: int = 1000,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        self.root = None if root is None else Path(root)
        self.split: Split = split
        self.output = output
        self.settings: dict[str, Any] = {
            "labels": labels,
            "without": without,
            "val_identity_share": val_identity_share,
            "unknown": unknown,
        }
        self.image_size = image_size
        self.fit = fit
        self.reliable = tuple(reliable)
        self.num_bootstraps = num_bootstraps
        self.seed = seed
        self.names = [] if self.root is None else [name or f"{self.root.stem}_{split}"]
        self._opened: AttributeSet | None = None

    def prepare(self) -> None:
        """Read the lists, so that what is missing is known before the first step."""
        self.opened().rows(self.split)

    def opened(self) -> AttributeSet:
        """Return the set, read once."""
        if self.root is None:
            raise ValueError("protocol=attributes needs protocol.root: a folder in CelebA's or LFWA's form, or a table")
        if self._opened is None:
            self._opened = open_attributes(self.root, **self.settings)
        return self._opened

    def image_names(self) -> list[str]:
        """Return the names of the images that are measured on, as errors have them."""
        opened = self.opened()
        return [str(opened.root / opened.paths[row]) for row in opened.rows(self.split).tolist()]

    def evaluate(self, runner: ModelRunner, *, detailed: bool = True) -> list[Result]:
        """Return one Result over the labels that both the network and the set have.

        Raises:
            ValueError: if the network answers no attributes, or none of the set's.
        """
        runner.require([self.output])
        opened, output = self.opened(), runner.outputs[self.output]
        names = [name for name in output.names if name in opened.labels.names]
        if not names:
            raise ValueError(
                f"the network knows {', '.join(output.names)}, the set {', '.join(opened.labels.names)}: no label in"
                " common"
            )
        if absent := [name for name in self.settings["labels"] or () if name not in names]:
            logger.warning("%s: the network has no answer for %s: left out", self.names[0], ", ".join(absent))
        rows = opened.rows(self.split)
        size = runner.image_size_for([self.output]) if self.image_size is None else image_sides(self.image_size)
        images = ImageFiles(opened.root, PathTable(opened.paths), image_size=size, fit=self.fit)
        labels = opened.labels.chosen(names)
        known = np.atleast_1d(labels.take(rows.tolist()).known.any(0))
        if not known.any():
            raise NothingToMeasureError(f"{self.names[0]} has no image of which one of {', '.join(names)} is known")
        if not known.all():
            unknown = ", ".join(name for name, one in zip(names, known, strict=True) if not one)
            warn_once(logger, "%s: nothing is known of %s, which no mean is over", self.names[0], unknown)
        logits = runner.run(LabelledSource(self.names[0], LabelledImages(images, labels, rows=rows)), [self.output])[
            self.output
        ]
        columns = [output.names.index(name) for name in names]
        probabilities = 1 / (1 + np.exp(-logits[:, columns].astype(np.float64)))
        thresholds = np.array(output.thresholds)[columns] if output.thresholds else None
        train = opened.labels.chosen(names).subset(np.flatnonzero(opened.splits == 0)).prevalence()
        return [
            self._result(names, probabilities, labels.take(rows.tolist()), rows, thresholds, train, detailed=detailed)
        ]

    def tell_network(self, network: Any, results: Sequence[Result]) -> None:
        """Give a network that is being trained the thresholds that were best on the validation images, so that its
        checkpoints and exports state them. Nothing is told on another split.
        """
        if self.split != "val" or not hasattr(network, "set_thresholds"):
            return
        names = list(network.outputs["attributes"].names)
        for result in results:
            by_name = dict(zip(result_names(result), result.arrays["thresholds"].tolist(), strict=True))
            network.set_thresholds([by_name.get(name, 0.5) for name in names])

    def _result(
        self,
        names: list[str],
        probabilities: NDArray[np.float64],
        truth: Any,
        rows: NDArray[np.int64],
        thresholds: NDArray[np.float64] | None,
        train: NDArray[np.float64],
        *,
        detailed: bool,
    ) -> Result:
        values, known = truth
        counts = attribute_counts(probabilities >= 0.5, values, known)
        accuracy, balanced = counts.accuracy(), counts.balanced_accuracy()
        majority = majority_accuracy(train, values, known)
        precision, calibration = (
            average_precision(probabilities, values, known),
            calibration_error(probabilities, values, known),
        )
        opened = self.opened()
        people = None if opened.identities is None else opened.identities[rows]
        correct = (probabilities >= 0.5) == values.astype(bool)
        per_image = np.where(known.any(1), (correct & known).sum(1) / np.maximum(known.sum(1), 1), np.nan)
        usable = np.isfinite(per_image)
        clusters = None if people is None else people[usable]
        intervals = (
            mean_interval(
                per_image[usable], subjects=clusters, num_bootstraps=self.num_bootstraps, seed=self.seed, rate=True
            )
            if detailed
            else None
        )
        measures = [
            Measure("accuracy", float(np.nanmean(accuracy)), *(intervals or (None, None))),
            Measure("balanced_accuracy", _mean(balanced)),
            Measure("average_precision", _mean(precision)),
            Measure("f1_minority", _mean(counts.minority_f1())),
            Measure("ece", _mean(calibration), unit="ratio", better="lower"),
            Measure("majority", _mean(majority), better=None),
        ]
        if thresholds is not None and self.split != "val":  # on val they were chosen
            measures.append(
                Measure(
                    "accuracy_tuned_thresholds",
                    _mean(attribute_counts(probabilities >= thresholds, values, known).accuracy()),
                )
            )
        reliable = [names.index(name) for name in self.reliable if name in names]
        if reliable:
            measures.append(Measure("accuracy_reliable", _mean(accuracy[reliable])))
        base: dict[str, Any] = {"protocol": "attributes", "name": self.names[0], "mode": self.split, "kind": "classes"}
        images = {"images": len(rows), "attributes": len(names)} | (
            {} if people is None else {"subjects": len(np.unique(people))}
        )
        arrays: dict[str, NDArray[Any]] = {}
        if self.split == "val":
            arrays = {
                "thresholds": best_thresholds(probabilities, values, known),
                "threshold_names": np.array(names),
            }
        if not detailed:
            return Result(**base, measures=tuple(measures), counts=images, arrays=arrays)
        table: dict[str, list[Measure | None]] = {}
        for place, name in enumerate(names):
            interval = mean_interval(
                correct[known[:, place], place].astype(float),
                subjects=None if people is None else people[known[:, place]],
                num_bootstraps=self.num_bootstraps,
                seed=self.seed,
                rate=True,
            )
            table[name] = [
                Measure("accuracy", float(accuracy[place]), *(interval or (None, None))),
                Measure("balanced_accuracy", float(balanced[place])),
                Measure("average_precision", float(precision[place])),
                Measure("f1_minority", float(counts.minority_f1()[place])),
                Measure("majority", float(majority[place]), better=None),
            ]
        arrays |= {
            "correct": correct & known,
            "known": known,
            "probabilities": probabilities.astype(np.float32),
        }
        if people is not None:
            arrays["subjects"] = people
        columns = ["accuracy", "balanced accuracy", "average precision", "F1 of the rarer answer", "majority"]
        return Result(
            **base,
            measures=tuple(measures),
            counts=images,
            tables={
                "Attributes": ResultTable(
                    columns,
                    {name: [m if m and np.isfinite(m.value) else None for m in row] for name, row in table.items()},
                )
            },
            samples_hash=hash_samples(values, known, names=[opened.paths[row] for row in rows.tolist()]),
            arrays=arrays,
        )


def result_names(result: Result) -> list[str]:
    """Return the attributes that the thresholds of a result are of."""
    return [str(name) for name in result.arrays["threshold_names"]]


def _mean(rates: NDArray[np.float64]) -> float:
    return float(np.nanmean(rates)) if np.isfinite(rates).any() else 0.0
