"""Opens images with attributes by what lies at a path: a folder in CelebA's form or LFWA's, or a table."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transface.data.sources.attributes.attribute_set import TRAIN, VAL, AttributeSet, once_each, put_val_aside
from transface.data.sources.attributes.celeba import is_celeba, read_celeba
from transface.data.sources.attributes.label_pickle import is_label_pickle, read_label_pickle
from transface.data.sources.attributes.lfwa import is_lfwa, read_lfwa
from transface.data.sources.attributes.table import read_table
from transface.data.sources.unnamed_images import tell_unnamed
from transface.images.files import FOLDERS_LOOKED_INTO, below, folders_in
from transface.told_once import warn_once

logger = logging.getLogger(__name__)
VAL_SHARE = 0.1  # of the training people, of a set that brings no val


def open_attributes(
    root: str | Path,
    *,
    labels: Sequence[str] | None = None,
    without: Sequence[str] = (),
    val_identity_share: float = VAL_SHARE,
    unknown: int | None = None,
    seed: int = 0,
) -> AttributeSet:
    """Return the set at `root`: a folder in CelebA's form or LFWA's, or a .csv or .parquet table (see table.py).

    Args:
        labels: the attributes to keep, in this order; None: all.
        without: attributes to leave out.
        val_identity_share: share of the training people (of the images, where people are not known) put aside as val
            where the set has no val.
        unknown: of a table in which -1, 0 and 1 all occur: the one that means that nobody knows.
        seed: of the choice of these people.

    Raises:
        FileNotFoundError: nothing is there, or a list or image is missing.
        ValueError: what is there is none of these, or not as it should be.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(
            f"no attribute data at {root}: expected a folder in CelebA's or LFWA's form, or a .csv or .parquet table"
        )
    if root.suffix.lower() in (".csv", ".parquet"):
        found = read_table(root, unknown=unknown, labels=labels)
    elif unknown is not None:
        raise ValueError(f"unknown={unknown} is for tables: the lists in {root} say it themselves")
    elif is_label_pickle(root):
        found = read_label_pickle(root)
    elif is_celeba(root):
        found = read_celeba(root)
    elif is_lfwa(root):
        found = read_lfwa(root)
    else:
        raise ValueError(
            f"{root} holds no attributes: expected list_attr_celeba.txt or .csv (CelebA), lfw_att_40.mat (LFWA), or"
            f" give a .csv or .parquet table{_near(root)}"
        )
    for path in found.paths:
        below(found.root, path, source=root)
    found = once_each(found, where=root)
    tell_unnamed(root, found.root, found.paths)
    _tell_shared_people(root, found)
    found = found._replace(labels=found.labels.chosen(labels, without=without))
    if not (found.splits == VAL).any():
        return put_val_aside(found, val_identity_share, seed=seed)
    if val_identity_share != VAL_SHARE:
        warn_once(
            logger, "%s: val_identity_share=%s puts nobody aside: the set brings its own val", root, val_identity_share
        )
    return found


def _near(root: Path) -> str:
    """Return a hint where the folder above or one in a root has the lists."""
    inside = folders_in(root) if root.is_dir() else []
    for folder in [root.absolute().parent, *inside[:FOLDERS_LOOKED_INTO]]:
        if is_label_pickle(folder) or is_celeba(folder) or is_lfwa(folder):
            return f"; {folder} has them: give that folder"
    return ""


def _tell_shared_people(root: Path, found: AttributeSet) -> None:
    """Warn once of people who are in training and in val or test: what is measured there is not of unseen people."""
    if found.identities is None:
        return
    training = found.splits == TRAIN
    if len(shared := np.intersect1d(found.identities[training], found.identities[~training])):
        warn_once(
            logger,
            "%s: %d people of the training images are in val or test too, person %d the first: figures there are not"
            " of unseen people",
            root,
            len(shared),
            int(shared[0]),
        )
