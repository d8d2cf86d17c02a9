"""The data of face recognition: packs, folders and lists of people's faces, alone or joined."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from transface.backbones.features import image_sides
from transface.data.sources.bad_records import ImageDataset
from transface.data.sources.source import open_source, open_sources
from transface.images.fit import Fit
from transface.training.datamodule import JointTrainingData, TrainingData

MANY = 64  # numbers of people that are not those of one with a high label


class RecognitionData(TrainingData):
    """Batches of faces with their identities, from one of `root`, `sources`, `source`.

    Args:
        root: an InsightFace pack, a .rec with its .lst, a folder with one folder a person, a .csv or .parquet list.
        sources: several of these joined, each a path or a mapping of path, weight, label_offset; see
            data/sources/source.py.
        source: a data set read by batches of indices, with `num_identities`.
        image_size: of the images in pixels, one side or (height, width).
        fit: what happens to images of another size: "refuse", "resize" (of the same proportions), "letterbox",
            "center_crop" or "stretch"; see images/fit.py.
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
        fit: Fit = "refuse",
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
            faces = open_source(root, image_size=size, fit=fit, on_bad_record=on_bad_record)
        elif source is None:
            faces, weights = open_sources(sources, image_size=size, fit=fit, on_bad_record=on_bad_record)
        self.num_identities = int(faces.num_identities)
        if _num_people(faces) < 2:
            raise ValueError(
                "the data has 1 person: faces are told apart from those of others, so it takes two people at least"
            )
        super().__init__(
            faces,
            weights=weights,
            on_bad_record=on_bad_record,
            facts={"num_identities": self.num_identities},
            **settings,
        )


def _num_people(faces: Any) -> int:
    """Return how many people have images; of many labels their number, as looking through all would take long."""
    count = int(faces.num_identities)
    if count > MANY:
        return count
    labels = getattr(faces, "labels", None)
    if labels is None:
        return count
    return len(np.unique(labels[labels >= 0]))


class RecognitionSets(JointTrainingData):
    """Several sets of faces in every step, each with people of its own, for classifier=several_heads.

    Args:
        sets: by name, settings of RecognitionData that are the set's own (root, total_batch_size, order, ...); the seed
            of each is the common one, plus its number.
        steps_per_epoch: optimizer steps of an epoch; None: as many as walk the largest set once, counted in its own
            batches. A set that ends earlier begins anew in another order; a position in each is kept.
        seed: of the orders of images.
        common: settings of RecognitionData that all sets share.

    Raises:
        FileNotFoundError, ValueError: as RecognitionData does, with the set's name.
    """

    def __init__(
        self,
        sets: Mapping[str, Mapping[str, Any]],
        *,
        steps_per_epoch: int | None = None,
        seed: int = 0,
        **common: Any,
    ) -> None:
        opened: dict[str, TrainingData] = {}
        self.num_identities_of: dict[str, int] = {}
        for number, (name, own) in enumerate(sets.items()):
            if "." in name or "/" in name:
                raise ValueError(f"the name of a data set is part of others' names: no dot or slash, got {name!r}")
            try:
                opened[name] = RecognitionData(**({**common, "seed": seed + number} | dict(own)))
            except ValueError as error:
                raise ValueError(f"data set {name}: {error}") from error
            self.num_identities_of[name] = opened[name].facts()["num_identities"]
        super().__init__(opened, steps_per_epoch=steps_per_epoch)

    @staticmethod
    def unread_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return the settings of all sets that each set has one of its own instead of, by name, with the reason."""
        sets = list((settings.get("sets") or {}).values())
        own = set.intersection(*(set(one) for one in sets)) if sets else set()
        return {str(name): "each of data.sets has its own" for name in own}

    def facts(self) -> dict[str, Any]:
        """Return how many people each set has."""
        return {"num_identities_of": dict(self.num_identities_of)}
