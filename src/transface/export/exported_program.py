"""A torch.export program (.pt2) as a network, to evaluate what `transface export` wrote. Nothing can be trained."""

from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transface.backbones.features import Output


class ExportedProgram(nn.Module):
    """Runs a .pt2 file, which itself names no outputs.

    Args:
        path: of the file.
        outputs: what it answers, in order.
        image_size: (height, width) of the images it takes.
        embedding_size: of its embedding, 0 where it answers none.
    """

    def __init__(
        self, path: str | Path, *, outputs: Mapping[str, Output], image_size: tuple[int, int], embedding_size: int = 0
    ) -> None:
        super().__init__()
        self.program = torch.export.load(path).module()
        self.outputs = dict(outputs)
        self.image_size = image_size
        self.embedding_size = embedding_size
        self._answer = namedtuple("Answers", tuple(self.outputs))  # type: ignore[misc]

    def train(self, mode: bool = True) -> "ExportedProgram":
        """Leave the program as it was exported: in eval mode."""
        return self

    def forward(self, images: Tensor) -> Any:
        """Return the NamedTuple of raw outputs for images (N, 3, H, W)."""
        found = self.program(images)
        return self._answer(*(found if isinstance(found, tuple | list) else (found,)))
