"""Orders by name, made for the faces they will walk."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from transface.data.sampling.order_plans import class_balanced, in_blocks, shuffled
from transface.data.sampling.orders import BlockOrder, ClassBalancedOrder, ShuffledOrder, WeightedOrder


class Faces:
    labels = np.arange(60) // 5
    sizes = (20, 40)

    def __len__(self) -> int:
        return 60


def test_plans_make_the_orders_they_are_named_after() -> None:
    made = [
        (shuffled(Faces(), seed=3), ShuffledOrder(60, seed=3)),
        (shuffled(Faces(), weights=[2.0, 0.5], seed=3), WeightedOrder([20, 40], [2.0, 0.5], seed=3)),
        (
            in_blocks(Faces(), seed=3, block_size=8, buffer_blocks=2),
            BlockOrder(60, seed=3, block_size=8, buffer_blocks=2),
        ),
        (
            class_balanced(Faces(), seed=3, classes_per_batch=4, images_per_class=3),
            ClassBalancedOrder(Faces.labels, seed=3, classes_per_batch=4, images_per_class=3),
        ),
    ]
    for order, expected in made:
        assert type(order) is type(expected)
        assert order(2).tolist() == expected(2).tolist()


@pytest.mark.parametrize("plan", [in_blocks, partial(class_balanced, classes_per_batch=2, images_per_class=2)])
def test_a_weight_that_would_not_be_heeded_is_refused(plan: object) -> None:
    with pytest.raises(
        ValueError, match=r"does not heed the weights \[2.0, 1.0\] of data\.sources: take order=shuffled"
    ):
        plan(Faces(), weights=[2.0, 1.0], seed=0)  # type: ignore[operator]


def test_a_person_without_usable_images_is_not_dealt() -> None:
    labels = np.array([0, 0, -1, 1, 1, -1, 2, 2])
    order = class_balanced(SimpleNamespace(labels=labels), seed=0, classes_per_batch=3, images_per_class=2)
    for epoch in range(5):
        assert sorted(order(epoch).tolist()) == [0, 1, 3, 4, 6, 7]
