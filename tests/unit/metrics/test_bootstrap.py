"""Intervals of means by drawing samples or people again."""

import numpy as np
import pytest

from transface.metrics.bootstrap import mean_interval


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_eight_right_of_eight_are_no_certainty(value: float) -> None:
    low, high = mean_interval(np.full(8, value), rate=True) or (np.nan, np.nan)
    # Wilson's interval of 8 of 8: z^2 / (n + z^2) is left out, z = 1.959964
    width = 1.959964**2 / (8 + 1.959964**2)
    assert (low, high) == pytest.approx((0, width) if value == 0 else (1 - width, 1), abs=1e-6)


def test_people_and_not_their_images_are_the_trials() -> None:
    few = mean_interval(np.ones(80), subjects=np.repeat(np.arange(8), 10), rate=True)
    assert few == mean_interval(np.ones(8), rate=True)


def test_errors_in_units_that_are_all_nought_stay_so() -> None:
    assert mean_interval(np.zeros(8)) == (0.0, 0.0)
    assert mean_interval(np.full(8, 0.5), rate=True) == (0.5, 0.5)
