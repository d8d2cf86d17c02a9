"""The range test of the learning rate: rates grow as stated, groups keep their shares, the steepest fall is found where
it was put.
"""

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch

from transface.training.callbacks.learning_rate_range import LearningRateRange, steepest
from transface.training.optimization.optimizers import AdamW


class Rates(lightning.Callback):
    """Keeps the learning rates with which each optimizer step is taken."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if len(self.seen) < trainer.global_step:  # a step was taken with this batch
            self.seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])


@pytest.mark.parametrize("accumulation", [1, 2])
def test_each_step_has_its_rate_and_the_run_ends(
    tmp_path: Path, train: Callable, make_module: Callable, accumulation: int
) -> None:
    finder, rates = LearningRateRange(tmp_path, lowest=1e-5, highest=1e-2, num_steps=12), Rates()
    trainer = train(make_module(), [finder, rates], steps=1000, max_epochs=-1, accumulate_grad_batches=accumulation)
    assert trainer.global_step == 12
    assert len(finder.losses) == 12
    np.testing.assert_allclose([max(step) for step in rates.seen], np.geomspace(1e-5, 1e-2, 12), rtol=1e-6)
    rows = list(csv.reader((tmp_path / "learning_rates.csv").open()))
    assert rows[0] == ["learning_rate", "loss", "smoothed_loss"]
    assert len(rows) == 13
    assert (tmp_path / "learning_rates.png").read_bytes().startswith(b"\x89PNG")


def test_accumulated_losses_are_means(tmp_path: Path, train: Callable, make_module: Callable) -> None:
    """At a rate near 0 the losses of two accumulated batches are the mean of theirs one by one."""
    one, two = (LearningRateRange(tmp_path, lowest=1e-12, highest=2e-12, num_steps=10) for _ in range(2))
    for finder, accumulation in ((one, 1), (two, 2)):
        module = make_module(flip_probability=0.0)
        module.backbone.drop_path_rate = 0.0
        for block in module.backbone.blocks:
            block.drop_path1 = block.drop_path2 = torch.nn.Identity()
        train(module, [finder], steps=1000, max_epochs=-1, accumulate_grad_batches=accumulation)
    # 40 images are five batches of 8: one, two | three, four | five | ...
    assert two.losses[0] == pytest.approx((one.losses[0] + one.losses[1]) / 2, rel=1e-4)
    assert two.losses[1] == pytest.approx((one.losses[2] + one.losses[3]) / 2, rel=1e-4)


def test_groups_keep_their_shares(tmp_path: Path, train: Callable, make_module: Callable) -> None:
    class Layerwise(type(make_module())):  # type: ignore[misc]
        def parameter_groups(self) -> list[dict[str, Any]]:
            groups = super().parameter_groups()
            return [dict(group, lr=1e-3 / 2**index) for index, group in enumerate(groups)]

    torch.manual_seed(0)
    plain = make_module()
    module = Layerwise(plain.backbone, plain.classifier, optimizer=partial(AdamW, lr=1e-3))
    rates = Rates()
    train(
        module, [LearningRateRange(tmp_path, lowest=1e-5, highest=1e-3, num_steps=10), rates], steps=1000, max_epochs=-1
    )
    assert len(rates.seen[0]) > 1
    for step in rates.seen:
        assert [value / step[0] for value in step] == pytest.approx([2.0**-index for index in range(len(step))])


def test_the_steepest_fall_is_found_where_it_is() -> None:
    rates = np.geomspace(1e-6, 1, 100)
    noise = 0.05 * np.random.default_rng(0).standard_normal(100)
    losses = 10 - 4 / (1 + np.exp(-2 * np.log(rates / 3e-4))) + noise + 20 * np.clip(np.log10(rates) + 1, 0, None)
    found = steepest(rates, losses)
    assert found.rate is not None
    assert 1e-4 < found.rate < 1e-3
    broken = losses.copy()
    broken[80:] = np.nan
    assert steepest(rates, broken).rate == pytest.approx(found.rate, rel=0.2)
    assert steepest(rates, np.arange(100.0)).rate is None
    assert steepest(rates[:5], losses[:5]).rate is None


def test_a_loss_that_breaks_ends_the_search(
    tmp_path: Path, train: Callable, make_module: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    module = make_module(optimizer=partial(torch.optim.SGD, lr=1.0))
    finder = LearningRateRange(tmp_path, lowest=1e2, highest=1e38, num_steps=40, stop_at=1.5)
    train(module, [finder], steps=1000, max_epochs=-1)
    assert len(finder.losses) < 40
    assert "learning_rates.csv" in capsys.readouterr().out


def test_a_search_from_rate_zero_is_refused(tmp_path: Path, train: Callable, make_module: Callable) -> None:
    with pytest.raises(ValueError, match="begin at 0"):
        train(make_module(optimizer=partial(torch.optim.SGD, lr=0.0)), [LearningRateRange(tmp_path)], steps=5)


@pytest.mark.parametrize(
    "settings", [{"lowest": 0.0}, {"lowest": 1.0, "highest": 0.1}, {"num_steps": 3}, {"stop_at": 1.0}]
)
def test_settings_out_of_range_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="want 0 < lowest < highest"):
        LearningRateRange("folder", **settings)


@pytest.mark.parametrize(("steps", "ends_before"), [(4, True), (1000, False)])
def test_a_run_that_ends_before_the_search_says_so(
    tmp_path: Path,
    train: Callable,
    make_module: Callable,
    capsys: pytest.CaptureFixture[str],
    steps: int,
    ends_before: bool,
) -> None:
    train(make_module(), [LearningRateRange(tmp_path, num_steps=10)], steps=steps, max_epochs=-1)
    said = capsys.readouterr().out
    assert f"({4 if ends_before else 10} of 10 rates" in said
    assert ("the run ended before the search" in said) is ends_before
