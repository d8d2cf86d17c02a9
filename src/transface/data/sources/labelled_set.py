"""A set of photographs with labels by name, opened and split: what is trained and tested on.

Shapes: n images.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.data.labels.table import LabelTable
from transface.data.sampling.splits import SHARES, split_hash, stratified_split
from transface.data.sources.face_labels import LabelledFiles, SetKind, chosen_labels, open_label_files, tell_unknown
from transface.data.sources.labelled import LabelledImages
from transface.images.fit import Fit
from transface.told_once import warn_once

log = logging.getLogger(__name__)


class LabelledSet:
    """A set of photographs with labels, and the split of it.

    Args:
        root: a folder or list; see data/sources/face_labels.py.
        kind: of set; None: found by its look.
        columns: names of the labels to use; None: all.
        image_size: of every image, one side or (height, width).
        fit: what happens to images of another size.
        shares: of train, val and test, where the set brings no split.
        split_seed: of that split.
        max_per_class: of the training images, at most so many of each class of the first column; None: all.
        name: of the set in results; None: the folder's.

    Raises:
        FileNotFoundError, ValueError: as the readers say.
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
    ) -> None:
        found = open_label_files(root, kind)
        self.name = name or Path(root).stem
        self.rejected = found.rejected
        self.images = found.images(image_size=_sides(image_size), fit=fit)
        self.columns = chosen_labels(found.labels, columns)
        self.labels = LabelTable(self.columns)
        # Of all labels: a set has one split, whichever of them are asked for.
        self.split = split_of(found, found.labels, shares=shares, seed=split_seed)
        tell_unknown(root, self.columns, self.split)  # also of a split of ours
        self.split_hash = split_hash(found.paths, self.split)
        self.max_per_class = max_per_class
        self.split_seed = split_seed

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return which images lie in a split ("trainval": in train or val) and have at least one label.

        Raises:
            ValueError: if there are none.
        """
        named = ["train", "val"] if split == "trainval" else [split]
        rows = np.flatnonzero(np.isin(self.split, named) & (self.labels.known() > 0))
        if split == "train" and self.max_per_class is not None:
            rows = self._capped(rows)
        if not len(rows):
            raise ValueError(
                f"{self.name} has no images to {split} with: its splits are {sorted(set(self.split.tolist()))}"
            )
        return rows

    def names(self, split: str) -> list[str]:
        """Return what errors call the images of a split.

        Raises:
            ValueError: as rows.
        """
        return [self.images.name(int(row)) for row in self.rows(split)]

    def labelled(self, split: str, output: str | None = None) -> LabelledImages:
        """Return the images of a split with all labels, or with those of one output alone."""
        labels: Any = self.labels if output is None else self.columns[output]
        return LabelledImages(self.images, labels, rows=self.rows(split))

    def _capped(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        classes = np.asarray(self.labels.classes)[rows]
        generator = np.random.default_rng(self.split_seed)
        kept = [generator.permutation(rows[classes == own])[: self.max_per_class] for own in np.unique(classes)]
        return np.sort(np.concatenate(kept))


def split_of(
    found: LabelledFiles, columns: Mapping[str, Any], *, shares: Sequence[float], seed: int
) -> NDArray[np.str_]:
    """Return the split (n,) a set comes with, or one of ours; a set without val gives a part of its training images for
    it.

    Ours is stratified by the classes of all columns, ages by decade; copies of one file, and people of CK+ names, stay
    together.
    """
    if len(found.split) and (found.split != "").all():
        if (found.split == "val").any():
            if tuple(shares) != SHARES:
                warn_once(log, "shares=%s deal nothing: the set brings its own train, val and test", list(shares))
            return found.split
        rest = found.split == "train"
        part = shares[1] / max(shares[0] + shares[1], 1e-9)
        split = found.split.copy()
        groups = _groups(found, np.flatnonzero(rest).tolist())
        split[rest] = stratified_split(_strata(columns)[rest], groups, shares=(1 - part, part, 0), seed=seed)
        return split
    return stratified_split(_strata(columns), _groups(found, range(len(found.paths))), shares=shares, seed=seed)


def _strata(columns: Mapping[str, Any]) -> NDArray[np.int64]:
    total: Any = 0
    for labels in columns.values():
        total = 1000 * total + np.asarray(labels.classes) + 1
    return np.asarray(total, dtype=np.int64)


def _groups(found: LabelledFiles, places: Iterable[int]) -> list[str]:
    """Return the name of what must stay together: the person where names begin as CK+'s do, else the content of the
    image.
    """
    groups = []
    for place in places:
        path = found.paths[place]
        stem = path.rsplit("/", 1)[-1]
        if len(stem) > 5 and stem[0] == "S" and stem[1:4].isdigit() and stem[4] == "_":
            groups.append(stem[:4])
            continue
        try:
            groups.append(hashlib.sha256(found.content(place)).hexdigest())
        except (OSError, ValueError):
            groups.append(path)
    return groups


def _sides(image_size: int | Sequence[int]) -> tuple[int, int]:
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"image_size must be one side or (height, width) in pixels, got {image_size}")
    return int(sides[0]), int(sides[1])
