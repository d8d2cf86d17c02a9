"""A second system in two dozen lines: two classes and a number in years of 48 px images. It imports nothing of
recognition.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from transface.data.labels.label import to_tensors
from transface.data.sources.image_files import ImageFiles, PathTable
from transface.data.sources.labelled import LabelledImages
from transface.distributed import global_mean
from transface.evaluation.labelled import LabelledSource
from transface.evaluation.values.regression import Regression
from transface.images.pixels import normalise
from transface.training.datamodule import TrainingData
from transface.training.module import NamedLosses, TrainingModule


class ToyRows(NamedTuple):
    smiling: Any
    years: Any


class ToyLabels(NamedTuple):
    """Labels of n images: whether they smile, and how old they look."""

    rows: ToyRows

    def __len__(self) -> int:
        return len(self.rows.years)

    def take(self, indices: Sequence[int]) -> ToyRows:
        return ToyRows(*(part[list(indices)] for part in self.rows))

    def targets(self, rows: ToyRows) -> Any:
        return to_tensors(rows)

    def mirrored(self, targets: Any, width: int) -> Any:
        return targets

    def facts(self) -> dict[str, Any]:
        return {"num_classes": 2}


class ToyYears(ToyLabels):
    """The years alone, as a protocol of values wants them."""

    def targets(self, rows: ToyRows) -> Tensor:
        return torch.from_numpy(rows.years)


def read(root: str | Path, kind: type[ToyLabels], part: str) -> LabelledImages:
    with (Path(root) / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = ToyRows(
        np.array([int(r["smiling"]) for r in rows]), np.array([float(r["years"]) for r in rows], dtype=np.float32)
    )
    images = ImageFiles(root, PathTable(r["path"] for r in rows), image_size=(48, 48))
    return LabelledImages(images, kind(labels), rows=[index for index, r in enumerate(rows) if r["part"] == part])


def open_data(root: str | Path, **settings: Any) -> TrainingData:
    dataset = read(root, ToyLabels, "train")
    return TrainingData(dataset, facts=dataset.labels.facts(), **settings)


def validation(root: str | Path) -> Regression:
    return Regression(LabelledSource("toy", read(root, ToyYears, "val")), output="years", num_bootstraps=200)


class ToyModule(TrainingModule):
    def __init__(self, network: nn.Module, *, years_weight: float = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.network = network
        self.years_weight = years_weight

    def losses(self, batch: Any, generator: torch.Generator) -> NamedLosses:
        answers = self.network(normalise(batch.images))
        smiling = nn.functional.cross_entropy(answers.smiling, batch.labels.smiling, reduction="none")
        years = (answers.years - batch.labels.years).abs() / 10
        terms = {"smiling": global_mean(smiling), "years": global_mean(years)}
        return NamedLosses(terms, {"years": self.years_weight}, num_samples=len(batch.images))
