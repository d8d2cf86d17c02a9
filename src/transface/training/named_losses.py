"""The losses of one step by name, and their weighted total: what a system returns and the trainer logs."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class NamedLosses(NamedTuple):
    """Scalar losses of a step.

    Attributes:
        terms: name -> scalar loss, each already the mean over the batch; logged as train/loss/<name>.
        weights: name -> factor in the total; a name that is absent counts once.
    """

    terms: dict[str, Tensor]
    weights: Mapping[str, float] = {}

    def total(self) -> Tensor:
        """Return the weighted sum of the terms: the scalar that is differentiated."""
        return torch.stack([self.weights.get(name, 1.0) * term for name, term in self.terms.items()]).sum()
