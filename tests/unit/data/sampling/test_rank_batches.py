"""Rank batches: every number of ranks walks the same order, and a run resumes exactly where it stopped."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import torch

from transface.data.loaders import make_loader
from transface.data.sampling.orders import ClassBalancedOrder, SequentialOrder, ShuffledOrder
from transface.data.sampling.rank_batches import RankBatches
from transface.data.sources.identity_pack import IdentityPack


def whole(order, batch_size: int, world_size: int, *, epoch: int = 0, state: dict | None = None, **words) -> list[int]:
    """All samples of an epoch in global order, as ranks of one step stand side by side."""
    ranks = []
    for rank in range(world_size):
        batches = RankBatches(order, batch_size, rank=rank, world_size=world_size, **words)
        batches.set_epoch(epoch)
        if state:
            batches.load_state_dict(state)
        ranks.append(list(batches))
    assert len({len(rank) for rank in ranks}) == 1
    return [index for step in zip(*ranks, strict=True) for batch in step for index in batch]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_every_number_of_ranks_walks_the_same_order(world_size: int) -> None:
    order = ShuffledOrder(480, seed=3)
    batch_size = 24 // world_size
    for epoch in (0, 1):
        assert whole(order, batch_size, world_size, epoch=epoch) == order(epoch).tolist()


def test_the_tail_is_dropped_or_padded() -> None:
    order = SequentialOrder(10)
    assert whole(order, 2, 2) == list(range(8))
    assert whole(order, 2, 2, tail="pad") == [*range(10), 0, 1]
    assert len(RankBatches(order, 2, world_size=2)) == 2
    assert len(RankBatches(order, 2, world_size=2, tail="pad")) == 3


def test_padding_goes_round_a_set_smaller_than_one_batch() -> None:
    assert whole(SequentialOrder(3), 4, 2, tail="pad") == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("after", [1, 2, 3, 6])
def test_a_run_saved_on_some_ranks_goes_on_with_others(before: int, after: int) -> None:
    order = ShuffledOrder(240, seed=1)
    ranks = [RankBatches(order, 12 // before, rank=rank, world_size=before) for rank in range(before)]
    seen = []
    for rank in ranks:
        rank.set_epoch(2)
    walks = [iter(rank) for rank in ranks]
    for _ in range(7):
        seen += [index for walk in walks for index in next(walk)]
    states = [rank.state_dict() for rank in ranks]
    assert all(state == states[0] for state in states)
    rest = whole(order, 12 // after, after, state=states[0])
    assert seen + rest == order(2).tolist()


def test_a_state_counts_what_training_finished_not_what_workers_fetched() -> None:
    batches = RankBatches(ShuffledOrder(100), 10)
    fetched = iter(batches)
    ahead = [next(fetched) for _ in range(6)]
    again = RankBatches(ShuffledOrder(100), 10)
    again.load_state_dict(batches.state_dict(batches=2))
    assert list(again)[:4] == ahead[2:]
    assert len(again) == 10  # the epoch's batches, the two before the stop included
    twice = RankBatches(ShuffledOrder(100), 10)
    twice.load_state_dict(again.state_dict(batches=5))
    assert next(iter(twice)) == ahead[5]


def test_a_finished_epoch_has_nothing_left_and_the_next_starts_afresh() -> None:
    batches = RankBatches(ShuffledOrder(45), 10)
    list(batches)
    again = RankBatches(ShuffledOrder(45), 10)
    again.load_state_dict(batches.state_dict())
    assert list(again) == []
    again.set_epoch(1)
    assert list(chain(*again)) == ShuffledOrder(45)(1)[:40].tolist()


def test_setting_the_epoch_it_is_in_keeps_the_position() -> None:
    batches = RankBatches(ShuffledOrder(40), 10)
    batches.load_state_dict({"epoch": 3, "consumed": 20, "batches": 2, "num_samples": 40})
    batches.set_epoch(3)
    assert list(chain(*batches)) == ShuffledOrder(40)(3)[20:].tolist()


def test_a_position_in_another_set_is_refused() -> None:
    state = RankBatches(ShuffledOrder(40), 10).state_dict()
    with pytest.raises(ValueError, match="among 40 samples, and there are 41 now"):
        RankBatches(ShuffledOrder(41), 10).load_state_dict(state)
    with pytest.raises(ValueError, match="resumed after 0 batches"):
        RankBatches(ShuffledOrder(40), 10).state_dict(batches=-1)


def test_going_on_in_another_order_is_told(caplog: pytest.LogCaptureFixture) -> None:
    begun = RankBatches(ShuffledOrder(40, seed=1), 10)
    walk = iter(begun)
    next(walk)
    state = begun.state_dict()
    for order, told in (
        (ShuffledOrder(40, seed=1), False),
        (ShuffledOrder(40, seed=2), True),
        (SequentialOrder(40), True),
    ):
        caplog.clear()
        again = RankBatches(order, 10)
        again.load_state_dict(state)
        assert len(list(again)) == 3
        assert ("in another order than it began in" in caplog.text) == told
        caplog.clear()
        again.set_epoch(1)
        list(again)
        assert not caplog.text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 4, "rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"batch_size": 4, "tail": "keep"}, "tail must be 'drop' or 'pad', got 'keep'"),
        ({"batch_size": 8, "world_size": 2}, "10 samples make no global batch of 2 x 8"),
    ],
)
def test_what_cannot_be_dealt_is_refused(words: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RankBatches(SequentialOrder(10), **words)


def test_ranks_never_cut_a_group_of_p_times_k() -> None:
    labels = torch.arange(40).numpy() // 5
    order = ClassBalancedOrder(labels, classes_per_batch=2, images_per_class=3)
    with pytest.raises(ValueError, match="multiple of 6"):
        RankBatches(order, 8)
    for rank in range(2):
        for batch in RankBatches(order, 6, rank=rank, world_size=2):
            assert sorted(labels[batch].tolist()).count(labels[batch[0]]) == 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_delivers_the_batches_of_the_sampler(tmp_path: Path, make_pack: Callable, num_workers: int) -> None:
    pack = IdentityPack(make_pack(tmp_path, [0, 0, 1, 1, 2, 2, 3, 3]))
    batches = RankBatches(ShuffledOrder(8, seed=4), 2)
    loader = make_loader(pack, batches, num_workers=num_workers, pin_memory=False)
    for epoch in range(2):
        batches.set_epoch(epoch)
        delivered = list(loader)
        assert torch.cat([batch.keys for batch in delivered]).tolist() == ShuffledOrder(8, seed=4)(epoch).tolist()
        for batch in delivered:
            assert batch.labels.tolist() == pack.labels[batch.keys].tolist()
            assert torch.equal(batch.images, pack.__getitems__(batch.keys.tolist()).images)
