"""transface.distributed on gloo ranks: what is gathered, summed, scattered, counted; and that nothing happens on one
process.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from transface import distributed

SIZES = [3, 0, 2]


def test_one_process_needs_no_group() -> None:
    rows = torch.arange(6.0).reshape(3, 2)
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.batch_sizes(3, rows.device) == [3]
    assert torch.equal(distributed.all_gather_rows([rows], sizes=[3])[0], rows)
    assert torch.equal(distributed.all_reduce_sum(rows), rows)
    assert torch.equal(distributed.reduce_scatter_rows(rows, sizes=[3]), rows)
    assert distributed.global_mean(rows[:, 0]) == 2


def test_rows_of_several_types_are_gathered_in_one_collective(run_ranks: Any) -> None:
    def rows(rank: int) -> list[Tensor]:
        return [
            torch.full((SIZES[rank], 2), rank + 0.5, dtype=torch.bfloat16),
            torch.full((SIZES[rank],), 10 * rank, dtype=torch.int64),
            torch.full((SIZES[rank], 2, 2), rank, dtype=torch.float64),
        ]

    def work(rank: int) -> tuple[list[int], list[Tensor], int]:
        sizes = distributed.batch_sizes(SIZES[rank], torch.device("cpu"))
        distributed.reset_traffic()
        return sizes, distributed.all_gather_rows(rows(rank), sizes=sizes), distributed.traffic().gathered

    expected = [torch.cat(parts) for parts in zip(*(rows(rank) for rank in range(3)), strict=True)]
    for sizes, gathered, received in run_ranks(3, work):
        assert sizes == SIZES
        assert received == 3 * 3 * (2 * 2 + 8 + 4 * 8)
        for ours, theirs in zip(gathered, expected, strict=True):
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype


def test_scattered_rows_are_the_sum_s_own_share(run_ranks: Any) -> None:
    def work(rank: int) -> Tensor:
        return distributed.reduce_scatter_rows(torch.arange(10.0).reshape(5, 2) * (rank + 1), sizes=SIZES)

    assert torch.equal(torch.cat(run_ranks(3, work)), torch.arange(10.0).reshape(5, 2) * 6)


def test_everyone_gets_the_tensors_of_the_first(run_ranks: Any) -> None:
    def work(rank: int) -> list[Tensor]:
        own = [
            torch.full((2, 3), float(rank + 1)),
            torch.tensor(rank + 7),
            torch.full((4,), rank + 0.5),
            torch.zeros(0),
        ]
        distributed.copy_from_first(own)
        return own

    for found in run_ranks(3, work):
        for value, expected in zip(found, work(0), strict=True):
            assert torch.equal(value, expected)


def test_a_sum_over_ranks_hands_each_rank_the_gradients_of_all(run_ranks: Any) -> None:
    def work(rank: int) -> tuple[Tensor, Tensor]:
        value = torch.tensor([1.0, 2.0]) * (rank + 1)
        total = distributed.sum_over_ranks(value.requires_grad_())
        (total * torch.tensor([1.0, 10.0]) * (rank + 1)).sum().backward()
        assert value.grad is not None
        return total.detach(), value.grad

    for total, gradient in run_ranks(3, work):
        assert total.tolist() == [6, 12]
        assert gradient.tolist() == [6, 60]
    assert work(0)[1].tolist() == [1, 10]


@pytest.mark.parametrize("sizes", [[2, 2], [3, 1], [4, 0]])
def test_the_global_mean_gives_ddp_the_gradient_of_one_process(run_ranks: Any, sizes: list[int]) -> None:
    faces = torch.randn(4, 3, dtype=torch.float64)

    def work(rank: int) -> tuple[Tensor, Tensor]:
        model = torch.nn.Linear(3, 1, bias=False).double()
        torch.nn.init.ones_(model.weight)
        replica = DistributedDataParallel(model)
        per_sample = replica(faces.split(sizes)[rank])[:, 0] ** 2
        loss = distributed.global_mean(per_sample)
        loss.backward()
        return loss.detach(), model.weight.grad

    results = run_ranks(2, work)
    expected = torch.ones(3, dtype=torch.float64, requires_grad=True)
    mean = ((faces @ expected) ** 2).mean()
    mean.backward()
    torch.testing.assert_close(sum(loss for loss, _ in results) / 2, mean.detach())
    for _, gradient in results:
        torch.testing.assert_close(gradient[0], expected.grad)
