"""How much the loss of each task counts in a step: by hand as published, learned, or by its own running mean.

Faceptor (ECCV 2024) section 4.1 and supplement; Kendall et al. (CVPR 2018) for the learned one. Weights are logged at
each step. Shapes: T tasks.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from transface.distributed import all_reduce_sum, world_size
from transface.systems.generalist.tasks import Task, task_weights


class Balance(NamedTuple):
    """What the losses of a step are multiplied with, by task, and what is added to their sum, or None."""

    weights: dict[str, Tensor]
    regulariser: Tensor | None = None


class FixedWeights(nn.Module):
    """The weighted mean of the losses.

    Args:
        tasks: whose losses are balanced.
        kinds: weight of each kind of task, shared among its tasks in proportion to their images a step; None: each task
            counts once.
        names: weights of single tasks, instead of those of their kinds.

    Raises:
        ValueError: for a kind without a weight, a name that is no task, or a weight that is not positive.
    """

    weights: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        kinds: Mapping[str, float] | None = None,
        names: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        if unknown := sorted(set(names or {}) - set(self.names)):
            raise ValueError(f"balance.names has {', '.join(unknown)}, the tasks are {', '.join(self.names)}")
        own = dict.fromkeys(self.names, 1.0) if kinds is None else task_weights(tasks, dict(kinds))
        # On the CPU, so that a plan can look at them, which builds the rest without numbers.
        values = torch.tensor([float({**own, **(names or {})}[name]) for name in self.names], device="cpu")
        if not (values > 0).all():
            raise ValueError(
                f"weights of tasks must be positive, got {dict(zip(self.names, values.tolist(), strict=True))}"
            )
        self.register_buffer("weights", values / values.sum(), persistent=False)

    def forward(self, losses: Mapping[str, Tensor]) -> Balance:
        """Return the weights of the losses (scalars) of all tasks; they sum to 1."""
        return Balance(dict(zip(self.names, self.weights.unbind(), strict=True)))


class UncertaintyWeights(nn.Module):
    """Learned weights: exp(-s) L + s for each task, s its own logarithm of a variance (Kendall et al., CVPR 2018).

    Args:
        tasks: whose losses are balanced.
        start: of every s.
    """

    def __init__(self, tasks: Sequence[Task], *, start: float = 0.0) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        self.log_variances = nn.Parameter(torch.full((len(self.names),), float(start)))

    def forward(self, losses: Mapping[str, Tensor]) -> Balance:
        """Return the weights of the losses (scalars) of all tasks, and the sum of their s."""
        weights = dict(zip(self.names, (-self.log_variances).exp().unbind(), strict=True))
        return Balance(weights, self.log_variances.sum())


class RunningMeanWeights(nn.Module):
    """Each loss is divided by its own running mean, so that tasks count alike whatever the unit of their loss.

    Args:
        tasks: whose losses are balanced.
        momentum: of the means; the first step sets them.

    Raises:
        ValueError: for a momentum outside [0, 1).
    """

    means: Tensor

    def __init__(self, tasks: Sequence[Task], *, momentum: float = 0.99) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"balance.momentum must be in [0, 1), got {momentum}")
        self.names = [task.name for task in tasks]
        self.momentum = momentum
        self.register_buffer("means", torch.zeros(len(self.names)))

    def forward(self, losses: Mapping[str, Tensor]) -> Balance:
        """Return the weights of the losses (scalars) of all tasks; in training they enter the means first."""
        if self.training:
            now = torch.stack([losses[name].detach().to(self.means.dtype) for name in self.names])
            now = all_reduce_sum(now) / world_size()
            moved = self.momentum * self.means + (1 - self.momentum) * now
            self.means.copy_(torch.where(self.means == 0, now, moved))
        weights = 1 / (self.means.clamp_min(1e-8) * len(self.names))
        return Balance(dict(zip(self.names, weights.unbind(), strict=True)))
