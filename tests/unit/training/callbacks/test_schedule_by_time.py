"""A schedule that ends when the time budget does."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import lightning
import pytest
from lightning.pytorch.callbacks import Timer

from transface.training.callbacks.schedule_by_time import ScheduleByTime
from transface.training.optimization.schedules import Polynomial


class Budget(Timer):
    """Ten hours, of which every step takes one."""

    def __init__(self) -> None:
        super().__init__(duration=timedelta(hours=10))
        self.hours = 0

    def time_elapsed(self, stage: Any = None) -> float:
        return 3600.0 * self.hours

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        self.hours += 1
        super().on_train_batch_end(trainer, *args, **kwargs)


class Rates(lightning.Callback):
    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def rates_of(train: Callable[..., Any], module: Any, *parts: Any, **settings: Any) -> list[float]:
    rates = Rates()
    train(module, [*parts, rates], **settings)
    return rates.rates


def test_the_rate_ends_with_the_time_budget(make_module: Callable[..., Any], train_on_data: Callable[..., Any]) -> None:
    settings = {"max_epochs": 20}  # 100 steps, of which ten are made
    by_steps = rates_of(train_on_data, make_module(schedule=Polynomial(power=1.0)), Budget(), **settings)
    by_time = rates_of(
        train_on_data, make_module(schedule=Polynomial(power=1.0)), Budget(), ScheduleByTime(), **settings
    )
    assert len(by_steps) == len(by_time) == 10
    base = by_steps[0]
    assert by_steps[-1] == pytest.approx(base * 0.91)
    # The rate of a step follows from the time before the step before it: the scheduler steps at a step's end.
    wanted = [1.0] + [1 - max(step, 10 * (step - 1)) / 100 for step in range(1, 10)]
    assert by_time == pytest.approx([base * factor for factor in wanted])


def test_steps_that_end_before_the_time_end_the_schedule_as_ever(
    make_module: Callable[..., Any], train_on_data: Callable[..., Any]
) -> None:
    plain = rates_of(train_on_data, make_module(schedule=Polynomial()), max_epochs=1)
    slow = Budget()
    slow.time_elapsed = lambda stage=None: 0.1 * slow.hours  # type: ignore[method-assign, misc]
    assert rates_of(train_on_data, make_module(schedule=Polynomial()), slow, ScheduleByTime(), max_epochs=1) == plain


def test_without_a_budget_it_is_refused(make_module: Callable[..., Any], train_on_data: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="set time_budget"):
        train_on_data(make_module(schedule=Polynomial()), [ScheduleByTime()], max_epochs=1)
