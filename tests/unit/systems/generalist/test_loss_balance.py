"""How task losses are weighed: published columns, learned variances, running means."""

import math

import pytest
import torch

from transface.systems.generalist.loss_balance import FixedWeights, RunningMeanWeights, UncertaintyWeights
from transface.systems.generalist.tasks import BASE, BASE_KIND_WEIGHTS, Task

TWO = (Task("age", "age", 101, 4), Task("smile", "attributes", 1, 8))


def test_published_weights_are_those_of_the_paper_over_their_sum() -> None:
    balance = FixedWeights(BASE, kinds=BASE_KIND_WEIGHTS)({})
    wanted = [5, 6, 2, 4, 1, 100, 1000]
    assert torch.stack(list(balance.weights.values())).tolist() == pytest.approx([w / 1118 for w in wanted])


def test_a_single_task_may_have_a_weight_of_its_own() -> None:
    weights = FixedWeights(TWO, names={"smile": 3.0})({}).weights
    assert {name: float(value) for name, value in weights.items()} == {"age": 0.25, "smile": 0.75}


def test_a_weight_of_no_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"balance\.names has pose, the tasks are age, smile"):
        FixedWeights(TWO, names={"pose": 1.0})


def test_the_best_learned_weight_is_one_over_the_loss() -> None:
    balance = UncertaintyWeights(TWO).double()
    losses = {"age": torch.tensor(4.0, dtype=torch.float64), "smile": torch.tensor(0.25, dtype=torch.float64)}
    optimizer = torch.optim.LBFGS(balance.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def total() -> torch.Tensor:
        optimizer.zero_grad()
        found = balance(losses)
        value = sum(found.weights[name] * loss for name, loss in losses.items()) + found.regulariser
        value.backward()
        return value

    optimizer.step(total)
    assert balance.log_variances.tolist() == pytest.approx([math.log(4.0), math.log(0.25)], abs=1e-4)


def test_running_means_make_losses_of_any_unit_count_alike() -> None:
    balance = RunningMeanWeights(TWO, momentum=0.9)
    losses = {"age": torch.tensor(30.0), "smile": torch.tensor(0.03)}
    for _ in range(20):
        weights = balance(losses).weights
    shares = [float(weights[name] * losses[name]) for name in losses]
    assert shares == pytest.approx([0.5, 0.5], rel=1e-5)


def test_running_means_stay_as_they_are_in_evaluation() -> None:
    balance = RunningMeanWeights(TWO)
    balance({"age": torch.tensor(1.0), "smile": torch.tensor(2.0)})
    balance.eval()({"age": torch.tensor(9.0), "smile": torch.tensor(9.0)})
    assert balance.means.tolist() == [1.0, 2.0]
