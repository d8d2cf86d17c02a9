"""Several heads on one backbone: each data set has label spaces, centres and a margin of its own, for sets whose people
may overlap.

Shapes: B faces of all sets in a step, one set after the other; E embedding size.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn


class SeveralHeads(nn.Module):
    """One classifier a data set; a step's loss is the weighted sum of the means over each set's faces.

    Args:
        num_identities_of: by set, how many people it has.
        head: makes a classifier: (num_identities=..., margin=..., seed=...) -> FullSoftmax or PartialFC.
        margin: copied for every head.
        weights: by set, its factor; None: its share of the step's faces, so that all faces count alike.
        seed: of the first set's centres; every further set has the next one.

    Raises:
        ValueError: for no set, or weights that do not name the sets.
    """

    def __init__(
        self,
        num_identities_of: Mapping[str, int],
        head: Callable[..., nn.Module],
        margin: nn.Module,
        *,
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not num_identities_of:
            raise ValueError("several heads need at least one data set: give data.sets")
        if weights is not None and (set(weights) != set(num_identities_of) or min(weights.values()) < 0):
            raise ValueError(
                f"weights must name the sets {sorted(num_identities_of)}, each at least 0, got {dict(weights)}"
            )
        heads: dict[str, nn.Module] = {}
        for number, (name, count) in enumerate(num_identities_of.items()):
            heads[name] = head(num_identities=count, margin=copy.deepcopy(margin), seed=seed + number)
        self.heads: Any = nn.ModuleDict(heads)
        self.weights = None if weights is None else {name: float(weights[name]) for name in heads}
        self.num_identities = sum(num_identities_of.values())
        self.embedding_size = int(getattr(next(iter(heads.values())), "embedding_size", 0))

    def follow(self, *, step: int, epoch: int) -> None:
        """Tell every head where training is."""
        for head in self.heads.values():
            follow = getattr(head, "follow", None)
            if follow is not None:
                follow(step=step, epoch=epoch)

    def weights_of(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """Return the factor of each set in a step with that many faces of each."""
        if self.weights is not None:
            return self.weights
        total = sum(sizes.values())
        return {name: size / total for name, size in sizes.items()}

    def forward(self, embeddings: Tensor, labels: Tensor, *, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Return by set the losses (B_i,) of its embeddings; `sizes` tells how many faces each set has, in the order of
        embeddings (B, E) and labels (B,), which are those of its own people.

        Raises:
            ValueError: if the sets are others than the heads'.
        """
        if set(sizes) != set(self.heads):
            raise ValueError(f"a step must hold the sets {sorted(self.heads)}, got {sorted(sizes)}")
        counts = list(sizes.values())
        parts = zip(sizes, embeddings.split(counts), labels.split(counts), strict=True)
        return {name: self.heads[name](faces, own) for name, faces, own in parts}
