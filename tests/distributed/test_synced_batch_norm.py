"""Batch norm over three ranks with batches of other sizes is that of one process with all faces: values, gradients,
running statistics.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from transface import distributed
from transface.training.parallel.synced_batch_norm import SyncedBatchNorms

SIZES = [4, 1, 3]


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    parts = nn.Sequential(
        nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)
    ).double()
    for parameter in parts.parameters():
        nn.init.normal_(parameter, generator=generator)
    return parts


def faces() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randn(sum(SIZES), 5, generator=generator, dtype=torch.float64),
        torch.rand(sum(SIZES), 3, generator=generator, dtype=torch.float64),
    )


def learn(model: nn.Module, images: Tensor, weights: Tensor) -> dict[str, Tensor]:
    per_sample = (model(images) * weights).square().sum(1)
    distributed.global_mean(per_sample).backward()
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return (
        {"losses": per_sample.detach()}
        | {name: p.grad for name, p in inner.named_parameters()}
        | dict(inner.named_buffers())
    )


def test_three_ranks_normalise_as_one(run_ranks: Any) -> None:
    images, weights = faces()
    expected = learn(network(), images, weights)

    def work(rank: int) -> dict[str, Tensor]:
        model = DistributedDataParallel(SyncedBatchNorms().apply(network()))
        return learn(model, images.split(SIZES)[rank], weights.split(SIZES)[rank])

    ranks = run_ranks(3, work)
    near: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(torch.cat([rank.pop("losses") for rank in ranks]), expected.pop("losses"), **near)
    for rank in ranks:
        assert rank.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(rank[name], value, **near, msg=lambda text, name=name: f"{name}: {text}")
