"""Attributes on two and three processes: every image counts once, also where the last batch is uneven."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from transface.backbones.features import Output
from transface.evaluation.classes.attributes import Attributes
from transface.evaluation.runner import ModelRunner
from transface.synthetic.labelled_sets import write_attribute_folder


class Answers(NamedTuple):
    attributes: Tensor


class Linear(nn.Module):
    image_size = (218, 178)
    outputs = {"attributes": Output("several_of", ("Smiling", "Male"))}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        nn.init.normal_(self.linear.weight, std=5, generator=torch.Generator().manual_seed(0))
        nn.init.zeros_(self.linear.bias)
        self.num_images = 0

    def forward(self, images: Tensor) -> Answers:
        self.num_images += len(images)
        return Answers(self.linear(images.mean((2, 3))))


@pytest.mark.parametrize("world_size", [2, 3])
def test_counts_of_ranks_are_those_of_one_process_and_every_image_counts_once(
    run_ranks: Any, tmp_path: Path, world_size: int
) -> None:
    faces = write_attribute_folder(tmp_path / "faces", num_identities=7, images_per_identity=5)

    def work(_rank: int) -> tuple[dict[str, float], int, int]:
        network = Linear()
        runner = ModelRunner(network, batch_size=4, progress=False)
        (result,) = Attributes(faces, split="all", num_bootstraps=0).evaluate(runner)
        return {measure.name: measure.value for measure in result.measures}, result.counts["images"], network.num_images

    alone, everything, _ = work(0)
    error = alone.pop("ece")
    assert everything == 35, "35 images are no multiple of 4 x 2 or 4 x 3"
    found = run_ranks(world_size, work)
    for values, images, _ in found:
        assert images == 35
        # batches of other sizes round the logits in float32 otherwise: what is counted from them is equal to the bit
        assert values.pop("ece") == pytest.approx(error, rel=1e-6)
        assert values == alone
    assert sum(seen for *_, seen in found) == 35
