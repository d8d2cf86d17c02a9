"""The data set of one task, of each kind: opened, cut to the task's labels, dealt as TrainingData.

`kind` and the form of labels decide which reader opens it. Shapes: n images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transface.backbones.features import image_sides
from transface.data.crops.canvases import Canvases
from transface.data.crops.dense_set import split_off_val
from transface.data.labels.expressions import ClassLabels
from transface.data.sampling.splits import SHARES
from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.dense.opening import DenseForm, open_dense
from transface.data.sources.face_labels import SetKind
from transface.data.sources.image_files import ImageFiles, PathTable
from transface.data.sources.labelled import LabelledImages
from transface.data.sources.labelled_set import LabelledSet
from transface.data.sources.source import SourceMix, open_source, open_sources
from transface.images.fit import Fit
from transface.systems.generalist.tasks import TaskKind
from transface.training.datamodule import TrainingData

OLDEST_YEAR = 100  # of the 101 queries of age


class TaskFacts(NamedTuple):
    """What the data of a task tells: its kind, the number of its outputs (0: open), their names, its people."""

    kind: TaskKind
    num_outputs: int = 0
    names: Sequence[str] = ()
    num_identities: int = 0


class NoRootError(ValueError):
    """A task's data was not given: its root is None."""


def task_data(dataset: Any, facts: TaskFacts, **settings: Any) -> TrainingData:
    """Return TrainingData of a data set with the facts of its task."""
    plain = facts._asdict() | {"names": list(facts.names)}
    return TrainingData(dataset, facts=plain, **settings)


def identity_data(
    root: str | Path | None = None,
    *,
    sources: Sequence[str | Path | Mapping[str, Any]] = (),
    image_size: int,
    fit: Fit = "refuse",
    first_label: int = 0,
    on_bad_record: Any = "raise",
    **settings: Any,
) -> TrainingData:
    """Return the data of an identity task.

    Args:
        root: an InsightFace pack, a .rec with its .lst, a folder with one folder a person, a .csv or .parquet list.
        sources: several of these joined; see data/sources/source.py.
        image_size: one side in pixels.
        fit: what happens to images of another size; see images/fit.py.
        first_label: added to every label: the people of the identity tasks before this one.

    Raises:
        FileNotFoundError, ValueError: as the sources say, or both or neither of root and sources.
    """
    if root is None and not sources:
        raise NoRootError("an identity task needs its root, or sources=[...]")
    if root is not None and sources:
        raise ValueError("an identity task needs its root, or sources=[...], and not both")
    size = image_sides(image_size)
    opened: Any
    if root is not None:
        opened, weights = open_source(root, image_size=size, fit=fit, on_bad_record=on_bad_record), None
    else:
        opened, weights = open_sources(sources, image_size=size, fit=fit, on_bad_record=on_bad_record)
    faces = SourceMix([opened], label_offsets=[first_label]) if first_label else opened
    facts = TaskFacts("identity", num_identities=int(opened.num_identities))
    return task_data(faces, facts, weights=weights, on_bad_record=on_bad_record, **settings)


def attribute_data(
    root: str | Path | None,
    *,
    labels: Sequence[str] | None = None,
    without: Sequence[str] = (),
    val_identity_share: float = 0.1,
    unknown: int | None = None,
    split: Any = "train",
    image_size: int,
    fit: Fit = "refuse",
    **settings: Any,
) -> TrainingData:
    """Return the data of an attributes task: CelebA, LFWA, or a table of one's own, as open_attributes takes them.

    Args:
        split: which images to train on.
        fit: what happens to images of another size.
    """
    opened = open_attributes(
        _given(root), labels=labels, without=without, val_identity_share=val_identity_share, unknown=unknown
    )
    size = image_sides(image_size)
    images = ImageFiles(opened.root, PathTable(opened.paths), image_size=size, fit=fit)
    names = opened.labels.names
    return task_data(
        LabelledImages(images, opened.labels, rows=opened.rows(split)),
        TaskFacts("attributes", len(names), names),
        **settings,
    )


def labelled_data(
    root: str | Path | None,
    *,
    column: str,
    kind: SetKind | None = None,
    classes: Sequence[str] | None = None,
    split: str = "train",
    image_size: int,
    fit: Fit = "refuse",
    shares: Sequence[float] = SHARES,
    split_seed: int = 0,
    max_per_class: int | None = None,
    num_years: int = OLDEST_YEAR + 1,
    **settings: Any,
) -> TrainingData:
    """Return the data of an age or expression task (or of any one of several classes): photographs as
    data/sources/face_labels.py reads them; those without the label are left out.

    Args:
        column: which label: "age", "expression", "gender", ...
        split: which images to train on.
        classes: the words of the outputs, in their order; images of other words are left out. None: the data's.
        num_years: outputs of an age.
        kind, fit, shares, split_seed, max_per_class: as LabelledSet takes them.

    Raises:
        ValueError: for a word that the data does not have.
    """
    opened = LabelledSet(
        _given(root),
        kind=kind,
        columns=[column],
        image_size=image_size,
        fit=fit,
        shares=shares,
        split_seed=split_seed,
        max_per_class=max_per_class,
    )
    labels: Any = opened.columns[column]
    rows = opened.rows(split)
    if not isinstance(labels, ClassLabels):
        return task_data(LabelledImages(opened.images, labels, rows=rows), TaskFacts("age", num_years), **settings)
    chosen = labels if classes is None else ClassLabels(*in_words(labels, classes, root))
    rows = rows[chosen.classes[rows] >= 0]
    facts = TaskFacts("expression", len(chosen.names), chosen.names)
    return task_data(LabelledImages(opened.images, chosen, rows=rows), facts, **settings)


def dense_data(
    root: str | Path | None,
    *,
    form: DenseForm | None = None,
    split: str = "train",
    val_share: float = 0.1,
    image_size: int,
    room: float | None = None,
    split_seed: int = 0,
    **settings: Any,
) -> TrainingData:
    """Return the data of a landmarks or parsing task: canvases of photographs, as data/sources/dense reads them.

    Args:
        form: of the folder; None: found by its look.
        val_share: of the training images, where the set has no val.
        image_size: side in pixels of the crops.
        room: side of the canvas over that of the crop; None: 1.5, of warped crops 2.5.
    """
    opened = open_dense(_given(root), form)
    opened = opened._replace(splits=split_off_val(opened.splits, val_share, seed=split_seed))
    kind: TaskKind = "landmarks" if opened.mask is None else "parsing"
    canvases = Canvases(opened, split=split, side=image_size, room=room or (2.5 if opened.warp else 1.5))
    return task_data(canvases, TaskFacts(kind, len(opened.names), opened.names), **settings)


def _given(root: str | Path | None) -> str | Path:
    if root is None:
        raise NoRootError("root is None: give a folder or a list")
    return root


def in_words(labels: ClassLabels, words: Sequence[str], where: object) -> tuple[Any, tuple[str, ...]]:
    """Return classes (n,) numbered by other words, -1 where a word is not among them, and the words.

    Raises:
        ValueError: for a word that the labels do not have.
    """
    if missing := [word for word in words if word not in labels.names]:
        raise ValueError(f"{where} has no class {', '.join(missing)}: it has {', '.join(labels.names)}")
    place = np.array([list(words).index(name) if name in words else -1 for name in labels.names])
    return np.where(labels.classes >= 0, place[np.maximum(labels.classes, 0)], -1), tuple(words)
