"""Intervals are Wilson's where pairs are independent, wider where people make pairs alike, and warn of too few
impostors.

How often they hold the truth: test_tar_bootstrap.py and, over 500 simulated sets each, the slow test_coverage.py.
"""

import numpy as np
import pytest
from scipy import stats

from transface.metrics.confidence import (
    accuracy_interval,
    dyadic_share,
    impostor_warning,
    paired_test,
    rate_interval,
    subject_standard_error,
)


@pytest.mark.parametrize(("successes", "trials"), [(90, 100), (599, 600), (1, 40), (0, 50), (50, 50)])
def test_with_the_binomial_error_it_is_wilsons_interval(successes: int, trials: int) -> None:
    rate = successes / trials
    found = rate_interval(rate, np.sqrt(rate * (1 - rate) / trials), num_trials=trials)
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_larger_error_means_a_wider_interval() -> None:
    narrow, wide = (rate_interval(0.97, error, num_trials=1000) for error in (0.005, 0.02))
    assert wide.low < narrow.low < 0.97 < narrow.high < wide.high <= 1


def test_accuracy_over_drawn_pairs_has_the_binomial_error() -> None:
    random = np.random.default_rng(0)
    correct, folds = random.random(6000) < 0.95, np.repeat(np.arange(10), 600)
    found = accuracy_interval(correct, folds, num_bootstraps=4000)
    expected = np.sqrt(np.mean([c.mean() * (1 - c.mean()) / 600 for c in correct.reshape(10, 600)]) / 10)
    assert found.standard_error == pytest.approx(expected, rel=0.05)
    assert found == accuracy_interval(correct, folds, num_bootstraps=4000)
    assert found != accuracy_interval(correct, folds, num_bootstraps=4000, seed=1)


def test_a_best_accuracy_moves_the_centre_a_quarter_and_widens_by_half_the_gap() -> None:
    correct, folds = np.arange(6000) % 20 > 0, np.repeat(np.arange(10), 600)  # 95 % right
    given = accuracy_interval(correct, folds)
    chosen = accuracy_interval(correct, folds, best_accuracy=0.954)
    expected = rate_interval(0.951, float(np.hypot(given.standard_error, 0.002)), num_trials=6000)
    assert (chosen.low, chosen.high) == pytest.approx((expected.low, expected.high))
    assert accuracy_interval(correct, folds, best_accuracy=0.95) == given
    far_above = accuracy_interval(correct[:20], folds[:20] * 0, best_accuracy=1.0)
    assert far_above.low <= 0.95 <= far_above.high


def test_the_error_over_people_is_the_one_robust_to_shared_people() -> None:
    random = np.random.default_rng(1)
    first = random.integers(0, 60, 800)
    pairs = np.stack([first, (first + random.integers(1, 60, 800)) % 60], axis=1)
    values = random.normal(size=60)[pairs].sum(axis=1) + random.normal(size=800)
    centred = values - values.mean()
    shares_one = (pairs[:, None, :, None] == pairs[None, :, None, :]).any(axis=(2, 3))
    variance = float((np.outer(centred, centred) * shares_one).sum()) / 800**2
    found = subject_standard_error(values, pairs, np.random.default_rng(0), num_bootstraps=4000)
    assert found == pytest.approx(np.sqrt(variance * 60 / 58), rel=0.08)


def test_pairs_of_one_person_are_drawn_with_the_person() -> None:
    random = np.random.default_rng(2)
    people = np.repeat(np.arange(200), 5)
    values = random.normal(size=200)[people] + 0.1 * random.normal(size=1000)
    means = values.reshape(200, 5).mean(axis=1)
    found = subject_standard_error(
        values, np.stack([people, people], axis=1), np.random.default_rng(0), num_bootstraps=4000
    )
    assert found == pytest.approx(means.std(ddof=1) / np.sqrt(200), rel=0.07)
    assert dyadic_share(values - values.mean(), np.stack([people, people], axis=1), num_people=200) == 1


def test_the_paired_test_sees_what_unpaired_intervals_hide() -> None:
    random = np.random.default_rng(3)
    first = random.random(5000) < 0.9
    second = first.copy()
    second[random.choice(np.flatnonzero(first), 40, replace=False)] = False
    found = paired_test(first, second)
    assert found.difference == pytest.approx(0.008)
    assert 0 < found.low < found.difference < found.high
    assert found.p_value < 1e-6
    same = paired_test(first, first)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    people = random.integers(0, 50, (5000, 2))
    assert paired_test(first, second, subjects=people).p_value < 0.01
    with pytest.raises(ValueError, match="same pairs"):
        paired_test(first, second[1:])


def test_the_paired_test_is_calibrated_when_there_is_no_difference() -> None:
    random = np.random.default_rng(4)
    p_values = [paired_test(*(random.random((2, 400)) < 0.8), num_bootstraps=200, seed=s).p_value for s in range(200)]
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.1


def test_too_few_impostors_are_told_with_the_error_they_make() -> None:
    assert impostor_warning(15_638_932, 1e-4) == ""
    assert impostor_warning(15_638_932, 1e-6) == (
        "only 16 impostors stand behind the threshold at FAR 1e-06: the FAR itself is uncertain by about 25 %"
    )
    assert "less than one" in impostor_warning(3000, 1e-4)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rate in \[0, 1\]"):
        rate_interval(1.2, 0.1, num_trials=10)
    with pytest.raises(ValueError, match=r"rate in \[0, 1\]"):
        rate_interval(float("nan"), 0.1, num_trials=10)
    with pytest.raises(ValueError, match="one fold for each pair"):
        accuracy_interval([True, False], [0])
    with pytest.raises(ValueError, match="two subjects of each of the 2 pairs"):
        subject_standard_error([1.0, 2.0], [[0, 1]], np.random.default_rng(0))


def test_folds_of_one_pair_have_an_interval_of_all_pairs() -> None:
    for wrong, folds in ((1, np.arange(10)), (4, np.arange(10)), (4, np.repeat(np.arange(10), 2)[:20])):
        correct = np.arange(len(folds)) >= wrong
        found = accuracy_interval(correct, folds)
        own = rate_interval(float(correct.mean()), 0.0, num_trials=len(correct))
        assert found.low == pytest.approx(own.low, abs=0.05)
        assert found.high == pytest.approx(own.high, abs=0.05)
    # Replicates that are equal up to rounding have no spread: 0.1 + 0.2 - 0.3 is none.
    assert rate_interval(0.9, 1e-16, num_trials=10) == rate_interval(0.9, 0.0, num_trials=10)._replace(
        standard_error=1e-16
    )
