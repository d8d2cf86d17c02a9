"""transface.classifiers.center_shards: the ranges cover every class once, and first centres do not depend on the
split.
"""

import pytest
import torch

from transface.classifiers.center_shards import first_centers, shard_range


@pytest.mark.parametrize(("classes", "ranks"), [(10, 1), (10, 3), (360_232, 7), (3, 4), (8, 8)])
def test_ranges_follow_one_another_and_differ_by_one_at_most(classes: int, ranks: int) -> None:
    ranges = [shard_range(classes, ranks, rank=rank) for rank in range(ranks)]
    assert [rank_range.start for rank_range in ranges] == [0, *[rank_range.stop for rank_range in ranges[:-1]]]
    assert ranges[-1].stop == classes
    assert {rank_range.stop - rank_range.start for rank_range in ranges} <= {classes // ranks, classes // ranks + 1}
    for rank in range(ranks):
        assert ranges[rank].start == (classes // ranks) * rank + min(rank, classes % ranks)


def test_first_centers_are_the_same_however_they_are_split() -> None:
    whole = first_centers(0, 10_000, embedding_size=3, seed=5)
    parts = [first_centers(*shard_range(10_000, 3, rank=rank), embedding_size=3, seed=5) for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.std().item() == pytest.approx(0.01, rel=0.02)
    assert not torch.equal(whole, first_centers(0, 10_000, embedding_size=3, seed=6))


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rank must be in 0\.\.2 for world_size 3, got 3"):
        shard_range(10, 3, rank=3)


def test_first_centers_share_no_numbers_with_the_global_seed() -> None:
    torch.manual_seed(0)
    same_seed = 0.01 * torch.randn(4096, 3)
    assert (first_centers(0, 4096, embedding_size=3, seed=0) * same_seed).mean().abs() < 1e-6
