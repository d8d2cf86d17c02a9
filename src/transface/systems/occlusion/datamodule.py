"""The data of occlusion: photographs with expression, gender or age.

Shapes: n images.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transface.data.sampling.splits import SHARES
from transface.data.sources.face_labels import SetKind
from transface.data.sources.labelled_set import LabelledSet
from transface.images.fit import Fit
from transface.training.datamodule import TrainingData


class OcclusionData(TrainingData):
    """Batches of photographs with the labels named.

    Args:
        root, kind, columns, image_size, fit, shares, split_seed, max_per_class, name: as LabelledSet takes them.
        settings: of TrainingData: batch sizes, order, workers, seed.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        kind: SetKind | None = None,
        columns: Sequence[str] | None = None,
        image_size: int | Sequence[int] = 112,
        fit: Fit = "refuse",
        shares: Sequence[float] = SHARES,
        split_seed: int = 0,
        max_per_class: int | None = None,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        self.opened = LabelledSet(
            root,
            kind=kind,
            columns=columns,
            image_size=image_size,
            fit=fit,
            shares=shares,
            split_seed=split_seed,
            max_per_class=max_per_class,
            name=name,
        )
        facts = self.opened.labels.facts()
        super().__init__(self.opened.labelled("train"), facts=facts, **settings)
