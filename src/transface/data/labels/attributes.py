"""Labels that are yes, no or not known, many to an image: the attributes of CelebA and LFWA, and any of one's own.

Shapes: n images, B of them in a batch, A attributes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transface.data.labels.sides import NO_OPPOSITE, mirrored_order

CELEBA_NAMES = tuple(
    """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair
    Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male
    Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks
    Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace
    Wearing_Necktie Young""".split()  # noqa: SIM905
)
# Judgements of the people who labelled, not facts of a picture; a model can be trained and used without them
# (docs/attributes.md).
JUDGEMENTS = (
    "Attractive",
    "Big_Lips",
    "Big_Nose",
    "Chubby",
    "Heavy_Makeup",
    "Narrow_Eyes",
    "Oval_Face",
    "Pointy_Nose",
    "Young",
)


class AttributeRows(NamedTuple):
    """Labels as they are kept: what each is (B, A) uint8, 0 or 1, and whether it is known (B, A) bool; an unknown one
    is 0.
    """

    values: NDArray[np.uint8]
    known: NDArray[np.bool_]


class AttributeTargets(NamedTuple):
    """Labels as a loss is given them: values (B, A) uint8, 0 or 1, and known (B, A) bool."""

    values: Tensor
    known: Tensor


def mirrored_attributes(targets: AttributeTargets, names: Sequence[str]) -> AttributeTargets:
    """Return the targets (B, A) of the mirrored images: labels of names with left and right trade places; one whose
    opposite is missing is not known.
    """
    order = mirrored_order(names)
    if order == tuple(range(len(names))):
        return targets
    places = torch.tensor(order, device=targets.known.device)
    known = targets.known[:, places] & (places != NO_OPPOSITE)
    return AttributeTargets(torch.where(known, targets.values[:, places], 0), known)


class AttributeLabels:
    """Named yes/no labels of n images.

    Args:
        values: (n, A) whole numbers: 1 is yes, 0 is no.
        known: (n, A) bool; None where every label is known.
        names: of the attributes, in the order of the columns.

    Raises:
        ValueError: for shapes that differ, names that are not one a column or not unique, or values other than 0 and 1.
    """

    def __init__(self, values: NDArray[Any], names: Sequence[str], *, known: NDArray[np.bool_] | None = None) -> None:
        self.names = tuple(str(name) for name in names)
        if values.ndim != 2 or values.shape[1] != len(self.names) or not self.names:
            raise ValueError(f"attributes must be (images, {len(self.names)}) for as many names, got {values.shape}")
        if len(set(self.names)) < len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"every attribute needs a name of its own, {', '.join(twice)} came more than once")
        if not np.isin(values, (0, 1)).all():
            raise ValueError(f"attributes are 0 or 1, got {sorted(set(np.unique(values).tolist()) - {0, 1})[:5]}")
        self.known = np.ones(values.shape, dtype=bool) if known is None else np.asarray(known, dtype=bool)
        if self.known.shape != values.shape:
            raise ValueError(f"known must be {values.shape} as the attributes are, got {self.known.shape}")
        self.values = np.where(self.known, values, 0).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Sequence[int]) -> AttributeRows:
        """Return the labels at `indices`."""
        rows = np.asarray(indices, dtype=np.int64)
        return AttributeRows(self.values[rows], self.known[rows])

    def targets(self, rows: AttributeRows) -> AttributeTargets:
        """Return the tensors of some rows."""
        return AttributeTargets(torch.from_numpy(np.array(rows.values)), torch.from_numpy(np.array(rows.known)))

    def mirrored(self, targets: AttributeTargets, width: int) -> AttributeTargets:
        """Return the targets of the mirrored images: none of CelebA's names a side, but one's own may."""
        return mirrored_attributes(targets, self.names)

    def facts(self) -> Mapping[str, Any]:
        """Return {"label_names": [...]}: what a network is built from."""
        return {"label_names": list(self.names)}

    def chosen(self, names: Sequence[str] | None = None, *, without: Sequence[str] = ()) -> "AttributeLabels":
        """Return the labels of some names only, in the order given (None: all, as they are), and without others.

        Raises:
            ValueError: for a name that does not occur, or none left.
        """
        wanted = list(self.names if names is None else names)
        if unknown := [name for name in (*wanted, *without) if name not in self.names]:
            raise ValueError(
                f"no attribute is called {', '.join(map(repr, unknown))}: there are {', '.join(self.names)}"
            )
        kept = [name for name in wanted if name not in set(without)]
        if not kept:
            raise ValueError("no attribute is left: give labels that are to be trained")
        columns = [self.names.index(name) for name in kept]
        return AttributeLabels(self.values[:, columns], kept, known=self.known[:, columns])

    def subset(self, indices: Sequence[int] | NDArray[Any]) -> "AttributeLabels":
        """Return the labels of some images, in the order given."""
        rows = np.asarray(indices, dtype=np.int64)
        return AttributeLabels(self.values[rows], self.names, known=self.known[rows])

    def prevalence(self) -> NDArray[np.float64]:
        """Return (A,) the share of yes among the known labels of each attribute, NaN where none is known."""
        counts = self.known.sum(0)
        return np.divide(self.values.sum(0), counts, out=np.full(len(self.names), np.nan), where=counts > 0)
