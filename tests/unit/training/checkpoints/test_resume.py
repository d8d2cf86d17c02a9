"""A resumed optimizer has the settings that are stated now, its moments, and the schedule's rate of its step."""

import copy

import pytest
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from transface.training.checkpoints.resume import apply_stated, stated_settings
from transface.training.optimization.optimizers import SGD, AdamW


def parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2, 2))]


def groups() -> list[dict[str, object]]:
    first, second = parameters()
    return [{"params": [first], "weight_decay": 0.0}, {"params": [second]}]


def halved(optimizer: Optimizer) -> LambdaLR:
    return LambdaLR(optimizer, [lambda step: 0.5**step, lambda step: 0.1 * 0.5**step])


def trained(optimizer: Optimizer, scheduler: LambdaLR, steps: int = 3) -> None:
    for _ in range(steps):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("schedule", [True, False])
def test_a_rate_and_a_decay_given_anew_are_those_trained_with(schedule: bool) -> None:
    before = AdamW(groups(), lr=0.1, weight_decay=0.5)
    before_schedule = halved(before)
    trained(before, before_schedule)
    after = AdamW(groups(), lr=0.2, weight_decay=0.25)
    stated = stated_settings(after)
    schedulers = [halved(after)] if schedule else []
    after.load_state_dict(before.state_dict())
    for one in schedulers:
        one.load_state_dict(before_schedule.state_dict())
    said = apply_stated(after, stated, schedulers=schedulers)
    factors = (0.125, 0.0125) if schedule else (1, 1)
    assert [group["lr"] for group in after.param_groups] == pytest.approx([0.2 * factor for factor in factors])
    assert [group["weight_decay"] for group in after.param_groups] == [0.0, 0.25]
    assert "weight_decay 0.5 -> 0.25" in said
    assert len(after.state) == 2, "moments stay"
    if schedule:
        assert said[0] == "lr 0.1 -> 0.2"
        trained(after, schedulers[0], steps=1)
        assert [group["lr"] for group in after.param_groups] == pytest.approx([0.2 / 16, 0.02 / 16])


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_nothing_is_touched_where_nothing_differs(kind: type[Optimizer]) -> None:
    optimizer = kind(groups(), lr=0.1)  # type: ignore[call-arg]
    stated = stated_settings(optimizer)
    scheduler = halved(optimizer)
    trained(optimizer, scheduler)
    kept = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(kept)
    assert apply_stated(optimizer, stated, schedulers=[scheduler]) == []
    assert optimizer.state_dict()["param_groups"] == kept["param_groups"]
