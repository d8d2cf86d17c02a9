"""Several data sets in one step: how long an epoch is, what a small set does, and a position that is exact."""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from transface.data.batches import FaceBatch
from transface.data.loaders import close_loader
from transface.data.sampling.orders import EndlessOrder, ShuffledOrder
from transface.training.datamodule import JointTrainingData, TrainingData

SIZES = {"large": 23, "small": 5}
BATCH = {"large": 4, "small": 2}


class Numbers:
    """A data set whose images are their own numbers."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, indices: Any) -> FaceBatch:
        keys = torch.tensor(list(indices))
        return FaceBatch(torch.zeros(len(keys), 3, 1, 1, dtype=torch.uint8), keys, keys)


def joint(
    *, steps: int | None = None, num_workers: int = 0, rank: int = 0, world_size: int = 1, accumulation: int = 1
) -> JointTrainingData:
    sets = {
        name: TrainingData(Numbers(count), total_batch_size=BATCH[name], num_workers=num_workers, seed=7)
        for name, count in SIZES.items()
    }
    data = JointTrainingData(sets, steps_per_epoch=steps)
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=world_size, global_rank=rank, current_epoch=0, accumulate_grad_batches=accumulation
    )
    return data


def walk(data: JointTrainingData, epoch: int, *, stop: int | None = None) -> list[dict[str, list[int]]]:
    """The keys of the batches of an epoch, by data set, each begun by training."""
    data.trainer.current_epoch = epoch  # type: ignore[union-attr, misc]
    loader = data.train_dataloader()
    found = []
    try:
        for batch, _, _ in itertools.islice(loader, stop):
            moved = data.transfer_batch_to_device(batch, torch.device("cpu"), 0)
            found.append({name: part.keys.tolist() for name, part in moved.items()})
    finally:
        for own in loader.flattened:
            close_loader(own)
    return found


def run_on(first: list[dict[str, list[int]]], name: str) -> list[int]:
    return [key for step in first for key in step[name]]


def test_an_epoch_walks_the_largest_set_once_and_the_small_one_again() -> None:
    steps = walk(joint(), 0)
    assert len(steps) == SIZES["large"] // BATCH["large"]
    assert all({name: len(keys) for name, keys in step.items()} == BATCH for step in steps)
    large, small = run_on(steps, "large"), run_on(steps, "small")
    assert len(set(large)) == len(large) == 20
    assert sorted(small[:5]) == sorted(small[5:]) == list(range(5))
    assert small[:5] != small[5:]


@pytest.mark.parametrize("steps", [3, None])
def test_an_epoch_sees_as_many_images_however_many_batches_a_step_accumulates(steps: int | None) -> None:
    whole, halves = walk(joint(steps=steps), 0), walk(joint(steps=steps, accumulation=2), 0)
    assert len(halves) == 2 * len(whole)
    for name in SIZES:
        assert run_on(halves, name) == run_on(whole, name)


def test_a_large_set_goes_on_where_the_epoch_before_ended() -> None:
    data = joint(steps=2)
    epochs = [walk(data, epoch) for epoch in range(3)]
    seen = [key for epoch in epochs for key in run_on(epoch, "large")]
    assert len(seen) == 24
    assert sorted(seen[:23]) == list(range(23))  # every image once before any comes again


@pytest.mark.parametrize(("epoch", "batches", "num_workers"), [(0, 0, 0), (0, 3, 0), (1, 1, 0), (1, 5, 0), (1, 2, 1)])
def test_a_resumed_run_sees_the_batches_of_one_that_was_not_interrupted(
    epoch: int, batches: int, num_workers: int
) -> None:
    whole = joint()
    expected = [walk(whole, number) for number in range(3)]

    interrupted = joint(num_workers=num_workers)
    for number in range(epoch):
        walk(interrupted, number)
    walk(interrupted, epoch, stop=batches)
    state = interrupted.state_dict()

    resumed = joint(num_workers=num_workers)
    resumed.load_state_dict(state)
    rest = walk(resumed, 0)  # a trainer asks for the loader before it knows its epoch
    assert rest == (expected[epoch][batches:] if batches < len(expected[epoch]) else expected[epoch + 1])


def test_ranks_deal_a_step_among_themselves_and_resume_on_another_number_of_them() -> None:
    def dealt(world_size: int, state: Any = None) -> tuple[list[set[int]], Any]:
        ranks = [joint(rank=rank, world_size=world_size) for rank in range(world_size)]
        for data in ranks:
            if state is not None:
                data.load_state_dict(state)
        steps = [walk(data, 0, stop=2) for data in ranks]
        own = [set(itertools.chain(*(run_on(part, name) for part in steps))) for name in SIZES]
        return own, ranks[0].state_dict()

    (large, small), state = dealt(2)
    assert len(large) == 2 * BATCH["large"]
    assert len(small) == 2 * BATCH["small"]
    (rest, _), _ = dealt(1, state)
    assert len(rest) == 2 * BATCH["large"]
    assert not rest & large  # the images that were seen do not come again in this pass
    with pytest.raises(ValueError, match=r"positions in \['large', 'small'\], and the data sets are \['large'\]"):
        JointTrainingData({"large": joint().datasets["large"]}).load_state_dict(state)


def test_what_cannot_be_dealt_is_refused_with_the_name_of_its_set() -> None:
    data = joint()
    data.datasets["small"].total_batch_size = 3
    with pytest.raises(ValueError, match=r"data set small: data.total_batch_size=3 cannot be dealt to 2 devices"):
        data.device_batch_size(devices=2, accumulation=1)
    with pytest.raises(ValueError, match="at least one data set"):
        JointTrainingData({})
    with pytest.raises(ValueError, match="steps_per_epoch must be at least 1 or null, got 0"):
        joint(steps=0)


@pytest.mark.parametrize("num_samples", [1, 3, 7, 10, 25])
def test_endless_epochs_are_pieces_of_one_run_of_passes(num_samples: int) -> None:
    order = ShuffledOrder(7, seed=3)
    endless = EndlessOrder(order, num_samples)
    pieces = np.concatenate([endless(epoch) for epoch in range(30)])
    passes = np.concatenate([order(number) for number in range(len(pieces) // 7 + 1)])
    assert np.array_equal(pieces, passes[: len(pieces)])
    assert endless.num_samples == num_samples


@pytest.mark.parametrize("num_samples", [0, -1])
def test_an_endless_epoch_holds_at_least_one_sample(num_samples: int) -> None:
    with pytest.raises(ValueError, match="positive multiple"):
        EndlessOrder(ShuffledOrder(7), num_samples)
