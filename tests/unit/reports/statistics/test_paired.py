"""The paired comparison against sums by hand: McNemar's exact p, the difference."""

import math

import numpy as np
import pytest

from transface.reports.statistics.paired import compare_decisions, compare_results, p_text


def mcnemar(b: int, c: int) -> float:
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    return min(1.0, 2 * tail) if b != c else 1.0


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (3, 9), (12, 5), (40, 40), (0, 20)])
def test_the_p_value_is_the_binomial_sum(b: int, c: int) -> None:
    first = np.array([True] * b + [False] * c + [True] * 50)
    second = np.array([False] * b + [True] * c + [True] * 50)
    compared = compare_decisions(first, second)
    assert (compared.only_first, compared.only_second) == (b, c)
    assert compared.difference == pytest.approx(first.mean() - second.mean())
    assert compared.p_value == pytest.approx(mcnemar(b, c))
    assert compared.low <= compared.difference <= compared.high
    turned = compare_decisions(second, first)
    assert turned.low == pytest.approx(-compared.high)
    assert turned.p_value == pytest.approx(compared.p_value)


def test_the_interval_holds_the_true_difference_about_19_times_in_20() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        shared = generator.random(400)
        first, second = shared < 0.85, (shared + 0.1 * generator.standard_normal(400)) < 0.80
        compared = compare_decisions(first, second)
        # P(u + 0.1 z < 0.8) for u uniform: 0.8 but for the tail that leaves [0, 1].
        truth = 0.85 - TRUE_SECOND
        held += compared.low <= truth <= compared.high
    assert 930 <= held <= 970


_grid = np.linspace(-6, 6, 4001)
_density = np.exp(-(_grid**2) / 2) / math.sqrt(2 * math.pi)
TRUE_SECOND = float(np.sum(np.clip(0.8 - 0.1 * _grid, 0, 1) * _density) * (_grid[1] - _grid[0]))


def test_results_of_other_pairs_or_without_decisions_are_not_compared(make_result) -> None:
    one, other = make_result(seed=1), make_result(seed=2, margin=2)
    compared = compare_results(one, other)
    assert list(compared) == ["accuracy", "tar@far=1e-03/strict", "tar@far=1e-02/strict"]
    assert compared["accuracy"].difference == pytest.approx(one.measures[0].value - other.measures[0].value)
    assert not compared["accuracy"].by_people
    assert compare_results(one, make_result(samples_hash="else")) == {}
    assert compare_results(make_result(samples_hash=""), make_result(samples_hash="")) == {}
    assert compare_results(one, make_result(arrays={"scores": np.zeros(3)})) == {}


def test_tar_is_compared_at_each_results_own_threshold(make_result) -> None:
    one, other = make_result(seed=1), make_result(seed=2, margin=2)
    for far in (1e-3, 1e-2):
        tars = []
        for result in (one, other):
            scores, same = result.arrays["scores"], result.arrays["is_same"]
            allowed = int(far * (~same).sum())
            refused = np.sort(scores[~same])[::-1][allowed]  # the highest impostor that must be refused
            tars.append((scores[same] > refused).mean())
        compared = compare_results(one, other)[f"tar@far={far:.0e}/strict"]
        assert compared.difference == pytest.approx(tars[0] - tars[1])


def test_people_are_drawn_again_where_they_are_known(make_result) -> None:
    one, other = make_result(seed=1), make_result(seed=2, margin=2)
    people = np.stack([np.arange(600) % 40, np.arange(600) % 40 + np.where(one.arrays["is_same"], 0, 1)], axis=1)
    known = [
        make_result(seed=s, margin=m, arrays={**r.arrays, "subjects": people})
        for s, m, r in ((1, 3.0, one), (2, 2, other))
    ]
    by_pairs, by_people = compare_results(one, other), compare_results(*known)
    assert by_people["accuracy"].by_people
    assert by_people["accuracy"].difference == pytest.approx(by_pairs["accuracy"].difference)
    assert by_people["accuracy"].only_first == by_pairs["accuracy"].only_first
    assert by_people["accuracy"].low != by_pairs["accuracy"].low


def test_decisions_must_be_of_the_same_pairs() -> None:
    with pytest.raises(ValueError, match="equally long"):
        compare_decisions(np.ones(3, bool), np.ones(4, bool))


def test_small_p_values_are_not_printed_as_zero() -> None:
    assert [p_text(p) for p in (0.0, 0.00009, 0.0042, 0.0499, 1.0)] == [
        "< 0.0001",
        "< 0.0001",
        "0.0042",
        "0.05",
        "1.00",
    ]
