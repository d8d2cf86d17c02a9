"""Ranks share the embedding of a set, and all of them get the numbers of one process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.io import encode_png

from transface.backbones.features import FaceFeatures
from transface.data.benchmarks.pairs import write_pair_set
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.recognition.pair_sets import PairSets
from transface.metrics.identification import Identification
from transface.metrics.verification import PairVerification, fold_accuracies


class Projection(nn.Module):
    image_size, embedding_size, patch_size, grid_size = (8, 8), 6, 0, (0, 0)

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 6, bias=False)
        nn.init.normal_(self.linear.weight, generator=torch.Generator().manual_seed(0))
        self.num_images = 0

    def forward(self, images: Tensor) -> FaceFeatures:
        self.num_images += len(images)
        return FaceFeatures(self.linear(images.flatten(1)))


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_work_and_the_result(run_ranks: Any, tmp_path: Path, world_size: int) -> None:
    images = torch.randint(0, 256, (46, 3, 8, 8), dtype=torch.uint8)
    write_pair_set(
        tmp_path / "made.bin", [encode_png(image).numpy().tobytes() for image in images], np.arange(23) % 3 == 0
    )

    def work(rank: int) -> tuple[dict[str, float], int]:
        backbone = Projection()
        (result,) = PairSets([tmp_path / "made.bin"]).evaluate(
            Embedder(backbone, batch_size=4, progress=False), detailed=False
        )
        return {measure.name: measure.value for measure in result.measures}, backbone.num_images

    alone, everything = work(0)
    found = run_ranks(world_size, work)
    assert sum(count for _, count in found) == everything == 92
    assert max(count for _, count in found) <= 2 * -(-46 // world_size)
    for values, _ in found:
        assert values == pytest.approx(alone)


def test_the_metric_is_gathered_from_ranks(run_ranks: Any) -> None:
    unit = torch.nn.functional.normalize(torch.randn(40, 8))
    same = torch.arange(20) % 3 == 0

    def work(rank: int) -> Any:
        metric = PairVerification(same)
        positions = torch.arange(rank, 40, 2)
        metric.update(unit[positions], positions)
        return metric.compute().fold_accuracies

    for accuracies in run_ranks(2, work):
        np.testing.assert_array_equal(accuracies, fold_accuracies(unit, same))


def test_identification_is_gathered_from_ranks(run_ranks: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(40, 8, generator=generator))
    gallery, people = torch.nn.functional.normalize(torch.randn(12, 8, generator=generator)), torch.arange(40) % 16

    def work(rank: int, world_size: int = 2) -> Any:
        metric = Identification(gallery, torch.arange(12), ranks=(1, 3), fpirs=(0.1,))
        positions = torch.arange(rank, 40, world_size)
        metric.update(unit[positions], people[positions], positions)
        found = metric.compute()
        return found.rank_rates, found.points, found.searches.mate_ranks.tolist()

    expected = work(0, world_size=1)
    assert run_ranks(2, work) == [expected, expected]
