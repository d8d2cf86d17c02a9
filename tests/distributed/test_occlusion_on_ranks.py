"""Photographs of which some labels are not known, on two and three processes: their loss is that of one process."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from transface.backbones.features import Output
from transface.systems.occlusion.module import OcclusionModule

NUM_IMAGES = 12


class Network(nn.Module):
    image_size, embedding_size = (32, 32), 4
    outputs = {  # noqa: RUF012
        "gender": Output("one_of", ("male", "female")),
        "age": Output("number", unit="years"),
    }


@pytest.mark.parametrize("world_size", [2, 3])
def test_unknown_labels_of_one_rank_do_not_make_the_others_count_more(run_ranks: Any, world_size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    answers = {
        "gender": torch.randn(NUM_IMAGES, 2, generator=generator, dtype=torch.float64),
        "age": 40 * torch.rand(NUM_IMAGES, generator=generator, dtype=torch.float64),
    }
    # Of the first rank all are known, of the last one image alone.
    targets = {
        "gender": torch.tensor([0, 1, 1, 0, 1, 0, -1, -1, -1, -1, -1, 1]),
        "age": torch.tensor([20.0, 30, 40, 10, 5, 70, *[float("nan")] * 5, 33], dtype=torch.float64),
    }

    def work(rank: int, size: int = 1) -> list[float]:
        module = OcclusionModule(Network(), view="whole", optimizer=partial(torch.optim.SGD, lr=0.1))
        own = slice(rank * NUM_IMAGES // size, (rank + 1) * NUM_IMAGES // size)
        seen = SimpleNamespace(**{name: value[own] for name, value in answers.items()})
        return [float(module._task_loss(name, seen, targets[name][own])) for name in answers]

    alone = work(0)
    found = torch.tensor(run_ranks(world_size, partial(work, size=world_size)), dtype=torch.float64)
    torch.testing.assert_close(found.mean(0), torch.tensor(alone, dtype=torch.float64))
