"""Task queries: what each task asks the decoder, one content and one position vector an output.

Faceptor (ECCV 2024) section 3.2. Shapes: Q queries of a task, D width.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Queries(NamedTuple):
    """Queries of some tasks, one after another.

    Attributes:
        content: (Q, D).
        position: (Q, D), added wherever a query or key is formed.
        counts: by task, how many of the rows are its own, in their order.
    """

    content: Tensor
    position: Tensor
    counts: dict[str, int]


class TaskQueries(nn.Module):
    """The learned queries of all tasks.

    Args of the constructor:
        counts: by task, its number of queries.
        width: D.
    """

    def __init__(self, counts: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.content = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(count, width)) for name, count in counts.items()}
        )
        self.position = nn.ParameterDict(
            {name: nn.Parameter(torch.rand(count, width)) for name, count in counts.items()}
        )

    def forward(self, *names: str) -> Queries:
        """Return the queries of the named tasks.

        Raises:
            ValueError: for a task without queries.
        """
        unknown = [name for name in names if name not in self.content]
        if unknown or not names:
            raise ValueError(
                f"no queries of {', '.join(unknown) or 'no task'}; there are those of {', '.join(self.content)}"
            )
        content = torch.cat([self.content[name] for name in names])
        position = torch.cat([self.position[name] for name in names])
        return Queries(content, position, {name: len(self.content[name]) for name in names})
