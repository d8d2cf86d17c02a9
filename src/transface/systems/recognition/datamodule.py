"""The data of face recognition: packs, folders and lists of people's faces, alone or joined."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from transface.backbones.features import image_sides
from transface.data.sources.bad_records import ImageDataset
from transface.data.sources.source import open_source, open_sources
from transface.training.datamodule import TrainingData


class RecognitionData(TrainingData):
    """Batches of faces with their identities, from one of `root`, `sources`, `source`.

    Args:
        root: an InsightFace pack, a .rec with its .lst, a folder with one folder a person, a .csv or .parquet list.
        sources: several of these joined, each a path or a mapping of path, weight, label_offset; see
            data/sources/source.py.
        source: a data set read by batches of indices, with `num_identities`.
        image_size: of the images in pixels, one side or (height, width).
        on_bad_record: "raise", or "skip": the next good record takes its place; the number is told at the end of the
            epoch.
        settings: of TrainingData: batch sizes, order, workers, decoding, seed.

    Raises:
        FileNotFoundError, ValueError: as the sources and orders say; at the start of training if the batch cannot be
            dealt.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        sources: Sequence[str | Path | Mapping[str, Any]] = (),
        source: ImageDataset | None = None,
        image_size: int | Sequence[int] = 112,
        on_bad_record: Literal["raise", "skip"] = "raise",
        **settings: Any,
    ) -> None:
        if (root is not None) + bool(sources) + (source is not None) != 1:
            raise ValueError(
                "give one of data.root (a folder with train.rec, or other data), data.sources=[...], or a source"
            )
        weights = None
        faces: Any = source
        size = image_sides(image_size)
        if root is not None:
            faces = open_source(root, image_size=size, on_bad_record=on_bad_record)
        elif source is None:
            faces, weights = open_sources(sources, image_size=size, on_bad_record=on_bad_record)
        self.num_identities = int(faces.num_identities)
        super().__init__(
            faces,
            weights=weights,
            on_bad_record=on_bad_record,
            facts={"num_identities": self.num_identities},
            **settings,
        )
