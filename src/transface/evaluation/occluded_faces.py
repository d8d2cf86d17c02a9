"""Evaluation under occlusion: each test image whole and with a part hidden, the same pixels in every run.

Shapes: M images, B of them in a batch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.io import encode_jpeg

from transface.backbones.features import Output
from transface.data.augment.occluders import Occluder, numbers_of_samples, points_in_pixels
from transface.data.labels.expressions import ClassLabels
from transface.data.sampling.splits import SHARES
from transface.data.sources.face_labels import SetKind
from transface.data.sources.labelled import LabelledImages
from transface.data.sources.labelled_set import LabelledSet
from transface.evaluation.classes.classification import Classification
from transface.evaluation.labelled import LabelledSource
from transface.evaluation.results import Result
from transface.evaluation.runner import ModelRunner
from transface.evaluation.values.regression import Regression
from transface.images.fit import Fit


class OccludedSource(LabelledSource):
    """The images of a labelled set with a part hidden: what is hidden of each follows from its name alone.

    Args:
        name, dataset: as of LabelledSource.
        occluder: hides a part.
        points: where five points lie in every image, as shares of its sides; None: unknown.
        seed: of what is drawn.
    """

    def __init__(
        self,
        name: str,
        dataset: LabelledImages,
        occluder: Occluder,
        *,
        points: Sequence[Sequence[float]] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(name, dataset)
        self.occluder = occluder
        self.points = None if points is None else torch.tensor(points, dtype=torch.float32)
        self.seed = seed

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the images at `indices`, (B, 3, H, W) uint8, occluded."""
        return self._occluded(super().read(indices, size), indices)

    def _occluded(self, images: Tensor, indices: Sequence[int]) -> Tensor:
        paths = self.dataset.images.paths  # type: ignore[attr-defined]
        names = [paths[int(self.dataset.rows[index])] for index in indices]
        numbers = numbers_of_samples(self.occluder, names, seed=self.seed)
        points = None
        if self.points is not None:
            points = points_in_pixels(self.points, images.shape[2:]).expand(len(images), -1, -1)
        return self.occluder(images, numbers, points).images

    def thumbnail(self, index: int) -> bytes:
        """Return one image as the network sees it, as JPEG."""
        return bytes(encode_jpeg(self.read([index], self.dataset.image_size)[0], quality=90).numpy().tobytes())


class OccludedFaces:
    """A protocol: expression, gender and age of a set's images, whole and occluded.

    Args:
        root, kind, columns, image_size, fit, shares, split_seed, name: as LabelledSet takes them.
        split: which images: "train", "val" or "test".
        occluders: by the name of the view; a None is the whole face.
        points: see OccludedSource.
        num_bootstraps, seed: of intervals; the seed also of what is drawn.
        tolerances: of the cumulative score of ages.

    Raises:
        FileNotFoundError, ValueError: as LabelledSet says.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        occluders: Mapping[str, Occluder | None],
        split: str = "test",
        kind: SetKind | None = None,
        columns: Sequence[str] | None = None,
        image_size: int | Sequence[int] = 112,
        fit: Fit = "refuse",
        shares: Sequence[float] = SHARES,
        split_seed: int = 0,
        name: str | None = None,
        points: Sequence[Sequence[float]] | None = None,
        tolerances: Sequence[float] = (5.0,),
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        if not occluders:
            raise ValueError("give at least one view, e.g. occluders={whole: null}")
        self.opened = LabelledSet(
            root,
            kind=kind,
            columns=columns,
            image_size=image_size,
            fit=fit,
            shares=shares,
            split_seed=split_seed,
            name=name,
        )
        self.root = Path(root)
        self.split = split
        self.occluders = dict(occluders)
        self.points = points
        self.tolerances = tuple(tolerances)
        self.num_bootstraps = num_bootstraps
        self.seed = seed
        self.names = [f"{self.opened.name}_{view}" for view in self.occluders]

    def prepare(self) -> None:
        """Look for the split, so that an empty one is known before the first step."""
        self.opened.rows(self.split)

    def image_names(self) -> list[str]:
        """Return the names of the images that are measured on, as errors have them."""
        return self.opened.names(self.split)

    def source(self, view: str, column: str) -> LabelledSource:
        """Return the images of a view with one kind of label."""
        occluder = self.occluders[view]
        dataset = self.opened.labelled(self.split, column)
        name = f"{self.opened.name}_{view}"
        if occluder is None:
            return LabelledSource(name, dataset)
        return OccludedSource(name, dataset, occluder, points=self.points, seed=self.seed)

    def evaluate(self, runner: ModelRunner, *, detailed: bool = True) -> list[Result]:
        """Return a Result for each view and each output that both the network and the labels have.

        Raises:
            ValueError: if they have none in common.
        """
        columns = [name for name in self.opened.columns if name in runner.outputs]
        if not columns:
            raise ValueError(
                f"the network answers {', '.join(runner.outputs) or 'nothing'}, the labels are"
                f" {', '.join(self.opened.columns)}"
            )
        results: list[Result] = []
        for view in self.occluders:
            for column in columns:
                results += self._protocol(view, column, runner.outputs[column]).evaluate(runner, detailed=detailed)
        return results

    def _protocol(self, view: str, column: str, output: Output) -> Any:
        source = self.source(view, column)
        settings: dict[str, Any] = {"output": column, "num_bootstraps": self.num_bootstraps, "seed": self.seed}
        if output.kind == "one_of":
            return Classification(renamed(source, output), **settings)
        return Regression(source, tolerances=self.tolerances, **settings)


def renamed(source: LabelledSource, output: Output, *, partial: bool = False) -> LabelledSource:
    """Return the source with classes numbered as the network numbers them, where both have the same words in another
    order.

    Args:
        source: whose labels are classes.
        output: of the network.
        partial: count a word that the network does not know as an unknown label.

    Raises:
        ValueError: if the set has words the network does not know, or with `partial` none that it knows.
    """
    names = getattr(source.dataset.labels, "names", output.names)
    if tuple(names) == tuple(output.names):
        return source
    missing = [name for name in names if name not in output.names]
    if missing and (not partial or len(missing) == len(names)):
        raise ValueError(f"{source.name} has {', '.join(missing)}, and the network knows {', '.join(output.names)}")
    place = np.array([output.names.index(name) if name in output.names else -1 for name in names])
    old: Any = source.dataset.labels
    classes = np.where(old.classes >= 0, place[np.maximum(old.classes, 0)], -1)
    source.dataset = LabelledImages(source.dataset.images, ClassLabels(classes, output.names), rows=source.dataset.rows)
    return source
