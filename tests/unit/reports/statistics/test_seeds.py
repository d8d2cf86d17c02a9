"""Means, intervals and paired tests over seeds and pairs, against formulas by hand and enumeration."""

import itertools
import math

import numpy as np
import pytest

from transface.evaluation.results import Measure
from transface.reports.reading.runs import Run
from transface.reports.reading.traces import Trace
from transface.reports.reading.trials import Trial
from transface.reports.statistics.seeds import (
    Estimate,
    compare_settings,
    default_metric,
    error_over_pairs,
    mean_over_sets,
    measured,
    over_seeds,
    pair_differences,
    sign_flip_p,
)

T_975 = {1: 12.7062047, 2: 4.30265273, 4: 2.77644511}


def test_the_interval_over_seeds_is_students() -> None:
    values = [0.90, 0.92, 0.91]
    estimate = over_seeds([Estimate(v) for v in values], is_rate=True)
    std = math.sqrt(sum((v - 0.91) ** 2 for v in values) / 2)
    assert estimate.value == pytest.approx(0.91)
    assert estimate.std == pytest.approx(std)
    assert estimate.high - estimate.value == pytest.approx(T_975[2] * std / math.sqrt(3))
    assert estimate.num_seeds == 3


def test_a_rate_stays_between_0_and_1_and_a_loss_need_not() -> None:
    two = [Estimate(0.99), Estimate(0.97)]
    assert over_seeds(two, is_rate=True).high == 1.0
    assert over_seeds(two, is_rate=False).high == pytest.approx(0.98 + T_975[1] * 0.0141421356 / math.sqrt(2))
    assert over_seeds([Estimate(0.5, 0.4, 0.6)], is_rate=True) == Estimate(0.5, 0.4, 0.6)
    with pytest.raises(ValueError, match="no estimate"):
        over_seeds([], is_rate=True)


def test_the_interval_of_a_mean_over_sets_adds_squares() -> None:
    estimate = mean_over_sets([Measure("accuracy", 0.9, 0.87, 0.93), Measure("accuracy", 0.8, 0.76, 0.82)])
    assert estimate.value == pytest.approx(0.85)
    assert estimate.value - estimate.low == pytest.approx(0.05 / 2)
    assert estimate.high - estimate.value == pytest.approx(math.sqrt(0.03**2 + 0.02**2) / 2)
    assert mean_over_sets([Measure("a", 0.9, 0.8, 1.0), Measure("a", 0.8)]).low is None


@pytest.mark.parametrize("differences", [[1, -1, 1], [2, 1, -1, 3], [0, 0], [1] * 6, [3, -3], [1, 2, 0, -4, 1]])
def test_the_sign_flip_test_is_the_enumeration(differences: list[int]) -> None:
    steps = [abs(d) for d in differences]
    sums = [
        sum(sign * step for sign, step in zip(signs, steps, strict=True))
        for signs in itertools.product((1, -1), repeat=len(steps))
    ]
    expected = sum(abs(s) >= abs(sum(differences)) for s in sums) / len(sums)
    assert sign_flip_p([np.array(differences[:1]), np.array(differences[1:])]) == pytest.approx(expected)


def test_without_pairs_there_is_no_p_value() -> None:
    assert sign_flip_p([]) is None


def trial(result_list, seed: int = 0, **run) -> Trial:
    return Trial(Run("t", results=tuple(result_list), **run), {}, seed)


def test_what_a_run_measured(make_result) -> None:
    results = (
        make_result("a", margin=4),
        make_result("b", margin=2),
        make_result("a", mode="pixels", label="", margin=0.1),
    )
    run = Run(
        "r", results=results, traces={"val/mean/accuracy": Trace(np.array([1, 2, 3]), np.array([0.5, 0.7, math.nan]))}
    )
    mean = (results[0].measures[0].value + results[1].measures[0].value) / 2
    assert measured(run, "accuracy").value == pytest.approx(mean)
    assert measured(run, "b/accuracy").value == results[1].measures[0].value
    assert measured(run, "a/tar@far=1e-02/strict").value == results[0].measure("tar@far=1e-02/strict").value
    assert measured(run, "tar@far=1e-02/strict") is not None
    assert measured(run, "val/mean/accuracy") == Estimate(0.7)
    assert measured(run, "c/accuracy") is None


def test_the_metric_not_named_is_the_headline_else_what_was_monitored(make_result) -> None:
    assert default_metric([trial([]), trial([make_result()])]) == "accuracy"
    traces = {"val/x/accuracy": Trace(np.array([1]), np.array([0.5]))}
    assert default_metric([trial([], config={"monitor": "val/x/accuracy"}, traces=traces)]) == "val/x/accuracy"
    with pytest.raises(ValueError, match="nothing to report yet"):
        default_metric([trial([])])


def test_settings_are_compared_seed_by_seed(make_result) -> None:
    first = [trial([make_result(margin=3.5, seed=s)], s) for s in (0, 1, 2)]
    second = [trial([make_result(margin=2.5, seed=s + 10)], s) for s in (2, 1, 0, 7)]
    compared = compare_settings(first, second, "accuracy")
    other = {t.seed: t for t in second}
    differences = [measured(t.run, "accuracy").value - measured(other[t.seed].run, "accuracy").value for t in first]
    mean = sum(differences) / 3
    std = math.sqrt(sum((d - mean) ** 2 for d in differences) / 2)
    assert compared.num_seeds == 3
    assert compared.difference == pytest.approx(mean)
    assert compared.high == pytest.approx(mean + T_975[2] * std / math.sqrt(3))
    # Student's t with 2 degrees of freedom has a closed form.
    t = mean / (std / math.sqrt(3))
    assert compared.p_seeds == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert compared.p_pairs < 1e-4


def test_with_one_seed_the_interval_is_over_pairs(make_result) -> None:
    one, two = make_result(margin=3.5, seed=1), make_result(margin=2.5, seed=2)
    compared = compare_settings([trial([one])], [trial([two])], "accuracy")
    difference = one.arrays["correct"].astype(int) - two.arrays["correct"].astype(int)
    assert compared.difference == pytest.approx(difference.mean())
    assert compared.high - compared.difference == pytest.approx(
        1.959964 * difference.std() / math.sqrt(len(difference)), rel=1e-5
    )
    assert compared.p_seeds is None


def test_only_the_pairs_a_metric_is_the_accuracy_of_are_tested(make_result) -> None:
    both = (trial([make_result("a"), make_result("bb")]), trial([make_result("a", seed=3), make_result("bb", seed=3)]))
    assert len(pair_differences([both])) == 2
    assert len(pair_differences([both], "bb/accuracy")) == 1
    assert pair_differences([both], "tar@far=1e-02/strict") == []
    assert pair_differences([both], "val/mean/accuracy") == []
    other_pairs = (both[0], trial([make_result("a", samples_hash="else")]))
    assert pair_differences([other_pairs]) == []


def test_the_error_of_a_mean_over_sets() -> None:
    sets = [np.array([0, 1, 0, 0]), np.array([1, -1])]
    expected = math.sqrt(np.var(sets[0]) / 4 + np.var(sets[1]) / 2) / 2
    assert error_over_pairs(sets) == pytest.approx(expected)


def test_no_shared_seed_no_comparison(make_result) -> None:
    assert compare_settings([trial([make_result()], 0)], [trial([make_result()], 1)], "accuracy") is None


def test_equal_trials_do_not_differ(make_result) -> None:
    same = [trial([make_result(seed=s)], s) for s in (0, 1)]
    compared = compare_settings(same, same, "accuracy")
    assert (compared.difference, compared.p_seeds, compared.p_pairs) == (0, 1, 1)
