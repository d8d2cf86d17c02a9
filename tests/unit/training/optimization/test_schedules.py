"""transface.training.optimization.schedules against the formulas and the released table."""

import math
from pathlib import Path

import numpy as np
import pytest

from transface.training.optimization.schedules import Constant, Cosine, Polynomial, RunLength


def test_released_table_is_reproduced(shared: Path) -> None:
    table = np.load(shared / "parity" / "transface" / "lr_schedule.npz")
    steps, warmup = int(table["max_steps"]), int(table["warmup_steps"])
    factor = Polynomial(power=2.0, warmup_steps=warmup, warmup="released").factors(RunLength(steps, 100))
    ours = np.array([float(table["base_lr"]) * factor(step) for step in range(steps)])
    np.testing.assert_allclose(ours, table["lr_used_at_step"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("power", [1.0, 2.0, 0.9])
def test_polynomial_is_the_written_formula(power: float) -> None:
    total, warmup = 50, 7
    factor = Polynomial(power=power, warmup_steps=warmup).factors(RunLength(total, 10))
    for step in range(total):
        expected = (step + 1) / warmup if step < warmup else (1 - (step - warmup) / (total - warmup)) ** power
        assert factor(step) == pytest.approx(expected, abs=1e-15)


def test_warmup_epochs_count_optimizer_steps() -> None:
    factor = Polynomial(warmup_epochs=1.5).factors(RunLength(100, 10))
    assert factor(14) == 1.0
    assert factor(0) == pytest.approx(1 / 15)


def test_cosine_ends_at_its_final_factor() -> None:
    factor = Cosine(warmup_steps=2, final_factor=0.1).factors(RunLength(22, 11))
    assert factor(0) == 0.5
    assert factor(2) == pytest.approx(1.0)
    assert factor(12) == pytest.approx(0.55)
    assert factor(22) == pytest.approx(0.1)


def test_constant_stays_after_its_warmup() -> None:
    factor = Constant(warmup_steps=4).factors(RunLength(10, 5))
    assert [factor(step) for step in (0, 3, 9)] == [0.25, 1.0, 1.0]


def test_a_warmup_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"warm-up of 30 steps must be in .* shorten schedule\.warmup_epochs"):
        Polynomial(warmup_epochs=3).factors(RunLength(20, 10))
    with pytest.raises(ValueError, match=r"shorten schedule\.warmup_steps"):
        Constant(warmup_steps=30).factors(RunLength(20, 10))


@pytest.mark.parametrize("schedule", [Polynomial, Cosine, Constant])
@pytest.mark.parametrize("epochs", [math.nan, math.inf])
def test_a_warmup_of_no_number_is_refused_by_name(schedule: type, epochs: float) -> None:
    with pytest.raises(ValueError, match=rf"schedule\.warmup_epochs must be a finite number, got {epochs}"):
        schedule(warmup_epochs=epochs).factors(RunLength(20, 10))


@pytest.mark.parametrize("final_factor", [-1.0, -1e-9, 1.5, math.nan])
def test_a_cosine_that_ends_beyond_its_base_rate_or_below_zero_is_refused(final_factor: float) -> None:
    with pytest.raises(ValueError, match=rf"schedule\.final_factor must be in \[0, 1\], got {final_factor}"):
        Cosine(final_factor=final_factor)


def test_an_unknown_warmup_word_is_refused() -> None:
    with pytest.raises(ValueError, match="from_first_step"):
        Polynomial(warmup="slow")  # type: ignore[arg-type]
