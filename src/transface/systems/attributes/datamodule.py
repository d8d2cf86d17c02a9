"""The data of attributes: CelebA, LFWA, or a table of one's own.

Shapes: n images, A attributes.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transface.backbones.features import image_sides
from transface.data.sources.attributes.attribute_set import AttributeSet, Split
from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.image_files import ImageFiles, PathTable
from transface.data.sources.labelled import LabelledImages
from transface.images.fit import Fit
from transface.told_once import warn_once
from transface.training.datamodule import TrainingData

log = logging.getLogger(__name__)


class AttributesData(TrainingData):
    """Batches of photographs with their attributes.

    Args:
        root, labels, without, val_identity_share, unknown: as open_attributes takes them.
        split: which images to train on.
        image_size: of every image, one side or (height, width); CelebA's are (218, 178).
        fit: what happens to images of another size; see images/fit.py.
        settings: of TrainingData: batch sizes, order, workers, decoding, seed.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        labels: Sequence[str] | None = None,
        without: Sequence[str] = (),
        val_identity_share: float = 0.1,
        unknown: int | None = None,
        split: Split = "train",
        image_size: int | Sequence[int] = (218, 178),
        fit: Fit = "refuse",
        **settings: Any,
    ) -> None:
        opened = open_attributes(
            root, labels=labels, without=without, val_identity_share=val_identity_share, unknown=unknown
        )
        images = ImageFiles(opened.root, PathTable(opened.paths), image_size=image_sides(image_size), fit=fit)
        self.opened = opened
        tell_untaught(root, opened, split)
        super().__init__(
            LabelledImages(images, opened.labels, rows=opened.rows(split)), facts=opened.labels.facts(), **settings
        )


def tell_untaught(root: str | Path, opened: AttributeSet, split: Split) -> None:
    """Warn of labels of which no image of a split is known: training leaves their answers as they began."""
    known = np.atleast_1d(opened.labels.take(opened.rows(split).tolist()).known.any(0))
    if not known.all():
        names = [name for name, one in zip(opened.labels.names, known, strict=True) if not one]
        warn_once(
            log,
            "%s: nothing is known of %s in the images of %s, so their answers stay as they begin: data.without=[%s]"
            " leaves them out",
            root,
            ", ".join(names),
            split,
            ",".join(names),
        )
