"""Running a network over images that are read already."""

from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from transface.backbones.features import Output
from transface.evaluation.runner import ModelRunner


def test_of_batches_only_what_is_reduced_is_kept_and_a_broken_answer_names_its_image() -> None:
    class Regions(nn.Module):
        outputs: ClassVar = {"parsing": Output("regions", ("background", "skin"))}
        image_size = (8, 8)

        def forward(self, images: Tensor) -> SimpleNamespace:
            return SimpleNamespace(parsing=torch.stack([images[:, 0], images[:, 1]], 1).log())

    runner = ModelRunner(Regions(), progress=False)
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    kept: list[torch.Size] = []

    def largest(_: str, rows: Tensor) -> Tensor:
        kept.append(rows.shape)
        return rows.argmax(1).to(torch.uint8)

    found = runner.run_batches(images.split(2), ["parsing"], reduce=largest, of="the pictures")["parsing"]
    assert [shape[0] for shape in kept] == [2, 2, 1]
    assert found.dtype == torch.uint8
    assert torch.equal(found, images[:, :2].argmax(1).to(torch.uint8))
    images[3] = -1.0  # the logarithm of a negative number
    with pytest.raises(ValueError, match="the first is image 3 of the pictures"):
        runner.run_batches(images.split(2), ["parsing"], reduce=largest, of="the pictures")
