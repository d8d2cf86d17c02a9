"""Orders: what each holds in an epoch, that seeds and epochs change it, and how random it is."""

from collections import Counter

import numpy as np
import pytest

from transface.data.sampling.orders import (
    BlockOrder,
    ClassBalancedOrder,
    SequentialOrder,
    ShuffledOrder,
    WeightedOrder,
    measure_shuffle,
)

LABELS = np.repeat(np.arange(7), [3, 1, 9, 4, 4, 6, 5])


@pytest.mark.parametrize("num_samples", [1, 2, 37, 1000])
@pytest.mark.parametrize(
    "kind", [SequentialOrder, ShuffledOrder, lambda n: BlockOrder(n, block_size=8, buffer_blocks=3)]
)
def test_every_sample_comes_once_an_epoch(num_samples: int, kind) -> None:
    order = kind(num_samples)
    for epoch in range(3):
        assert sorted(order(epoch).tolist()) == list(range(num_samples))


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: ShuffledOrder(200, seed=seed),
        lambda seed: BlockOrder(200, seed=seed, block_size=10, buffer_blocks=4),
        lambda seed: WeightedOrder([120, 80], [1, 0.5], seed=seed),
        lambda seed: ClassBalancedOrder(LABELS, classes_per_batch=3, images_per_class=2, seed=seed),
    ],
)
def test_seed_and_epoch_change_the_order_and_fix_it(make) -> None:
    first = make(0)(0).tolist()
    assert make(0)(0).tolist() == first
    assert make(1)(0).tolist() != first
    assert make(0)(1).tolist() != first
    assert len(make(0)(5)) == make(0).num_samples == len(first)


def test_block_order_reads_runs_of_neighbours() -> None:
    order = BlockOrder(1000, block_size=50, buffer_blocks=4)(0)
    for start in range(0, 1000, 200):
        buffer = np.sort(order[start : start + 200])
        assert all(len(set(run // 50)) == 1 for run in buffer.reshape(4, 50))
        assert order[start : start + 200].tolist() != buffer.tolist()


def test_weights_say_how_often_a_source_is_seen() -> None:
    order = WeightedOrder([10, 100, 4], [2.5, 0.3, 1])
    seen = Counter(order(0).tolist())
    assert sum(seen.values()) == order.num_samples == 25 + 30 + 4
    assert {seen[i] for i in range(10)} == {2, 3}
    assert sum(seen[i] for i in range(10, 110)) == 30
    assert max(seen[i] for i in range(10, 110)) == 1
    assert [seen[i] for i in range(110, 114)] == [1] * 4
    other = Counter(order(1).tolist())
    assert {i for i in seen if 10 <= i < 110} != {i for i in other if 10 <= i < 110}


@pytest.mark.parametrize(
    ("sizes", "weights"), [([3], []), ([], []), ([3], [0]), ([3, 4], [1, -1]), ([3], [float("nan")])]
)
def test_wrong_weights_are_refused(sizes: list[int], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        WeightedOrder(sizes, weights)


@pytest.mark.parametrize(("people", "images"), [(1, 1), (3, 2), (7, 4), (2, 12)])
def test_each_group_holds_p_people_with_k_images_each(people: int, images: int) -> None:
    order = ClassBalancedOrder(LABELS, classes_per_batch=people, images_per_class=images)
    for epoch in range(4):
        for group in order(epoch).reshape(-1, people * images):
            counted = Counter(LABELS[group].tolist())
            assert len(counted) == people
            assert set(counted.values()) == {images}
            for label in counted:  # an image comes twice only where there are too few
                own = [i for i in group.tolist() if LABELS[i] == label]
                assert len(set(own)) == min(images, int((label == LABELS).sum()))


def test_class_balance_deals_all_images_before_one_comes_again() -> None:
    labels = np.repeat(np.arange(4), 8)
    order = ClassBalancedOrder(labels, classes_per_batch=4, images_per_class=2)
    assert sorted(order(3).tolist()) == list(range(32))


def test_class_balance_sees_classes_equally_often() -> None:
    labels = np.repeat(np.arange(3), [1, 10, 1000])
    seen = Counter(labels[ClassBalancedOrder(labels, classes_per_batch=3, images_per_class=4)(0)].tolist())
    assert len(set(seen.values())) == 1


@pytest.mark.parametrize(("people", "images"), [(8, 1), (0, 1), (1, 0)])
def test_more_people_than_there_are_is_refused(people: int, images: int) -> None:
    with pytest.raises(ValueError, match=r"classes_per_batch must be in 1\.\.7"):
        ClassBalancedOrder(LABELS, classes_per_batch=people, images_per_class=images)


def test_labels_without_images_are_not_dealt() -> None:
    order = ClassBalancedOrder(np.array([5, 5, 9, 9]), classes_per_batch=2, images_per_class=2)
    assert sorted(order(0).tolist()) == [0, 1, 2, 3]


def test_measure_tells_a_perfect_shuffle_from_none() -> None:
    labels = np.repeat(np.arange(500), 20)
    perfect = measure_shuffle(ShuffledOrder(10000)(0), labels, batch_size=100, reach=100)
    assert perfect.displacement == pytest.approx(1 / 3, abs=0.02)
    assert perfect.neighbour_share == pytest.approx(perfect.neighbour_share_perfect, rel=0.15)
    assert perfect.identities == pytest.approx(perfect.identities_perfect, rel=0.02)
    none = measure_shuffle(SequentialOrder(10000)(0), labels, batch_size=100, reach=100)
    assert none.displacement == 0
    assert none.neighbour_share == 1
    assert none.identities == pytest.approx(5 / 100)


def test_measure_is_the_naive_count() -> None:
    labels = np.arange(60) // 4
    order = ShuffledOrder(60)(1)
    quality = measure_shuffle(order, labels, batch_size=10, reach=5)
    near, pairs, people = 0, 0, 0
    for batch in order.reshape(6, 10).tolist():
        people += len({labels[i] for i in batch})
        for a in range(10):
            for b in range(a):
                pairs += 1
                near += abs(batch[a] - batch[b]) <= 5
    assert quality.neighbour_share == pytest.approx(near / pairs)
    assert quality.identities == pytest.approx(people / 60)
    assert quality.displacement == pytest.approx(sum(abs(int(v) - i) for i, v in enumerate(order)) / 60 / 60)


def test_block_shuffling_nears_a_perfect_shuffle_as_its_buffer_grows() -> None:
    labels = np.repeat(np.arange(1000), 20)
    shares = [
        measure_shuffle(
            BlockOrder(20000, block_size=100, buffer_blocks=blocks)(0), labels, batch_size=128, reach=100
        ).neighbour_share
        for blocks in (1, 4, 16, 200)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.5
    assert shares[-1] < 0.02
