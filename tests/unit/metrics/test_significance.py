"""Significance: known values, naive re-derivations, both ends."""

import itertools
import math

import numpy as np
import pytest

from transface.metrics.significance import (
    bootstrap_interval,
    cluster_bootstrap,
    compare_correct,
    compare_errors,
    holm,
    mcnemar,
    paired_permutation,
)


def test_mcnemar_of_15_and_5_is_the_known_value() -> None:
    assert mcnemar(15, 5) == pytest.approx(0.0414, abs=5e-5)
    assert mcnemar(5, 15) == mcnemar(15, 5)


@pytest.mark.parametrize(("b", "c"), [(0, 1), (3, 9), (0, 24), (10, 14)])
def test_mcnemar_below_25_is_the_sum_of_binomial_terms(b: int, c: int) -> None:
    naive = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) * 2 / 2 ** (b + c)
    assert mcnemar(b, c) == pytest.approx(min(naive, 1.0), rel=1e-12)


def test_mcnemar_from_25_on_is_the_corrected_chi_square() -> None:
    assert mcnemar(30, 12) == pytest.approx(math.erfc(math.sqrt((18 - 1) ** 2 / 42 / 2)), rel=1e-10)


def test_models_that_differ_equally_often_both_ways_give_one() -> None:
    assert mcnemar(0, 0) == mcnemar(7, 7) == mcnemar(1000, 1000) == 1.0


@pytest.mark.parametrize("b", [-1, 1.5, float("nan")])
def test_mcnemar_refuses_what_is_no_count(b: float) -> None:
    with pytest.raises(ValueError, match="b must be a count"):
        mcnemar(b, 3)  # type: ignore[arg-type]


def test_holm_steps_down_and_never_falls() -> None:
    values = [0.01, 0.04, 0.03, 0.005, 0.9]
    expected, running = [0.0] * 5, 0.0
    for place, index in enumerate(sorted(range(5), key=values.__getitem__)):
        running = max(running, (5 - place) * values[index])
        expected[index] = min(running, 1.0)
    assert holm(values).tolist() == pytest.approx(expected)
    assert holm([]).tolist() == []
    assert holm([0.2]).tolist() == [0.2]
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([0.1, float("nan")])


def test_a_permutation_of_few_images_walks_every_sign() -> None:
    one, two = np.array([1.0, 2.0, 3.0, 0.5]), np.array([1.5, 2.5, 2.0, 2.0])
    difference = two - one
    signs = itertools.product([-1, 1], repeat=4)
    naive = np.mean([abs(np.dot(sign, difference)) >= abs(difference.sum()) - 1e-12 for sign in signs])
    assert paired_permutation(one, two) == pytest.approx(naive)


def test_a_permutation_of_equal_errors_gives_one_and_of_a_constant_gain_almost_none() -> None:
    errors = np.random.default_rng(0).random(400)
    assert paired_permutation(errors, errors, num_permutations=200) == 1.0
    assert paired_permutation(errors, errors + 0.1, num_permutations=999) == pytest.approx(1 / 1000)


def test_clusters_swap_together_so_copies_of_an_image_add_no_evidence() -> None:
    generator = np.random.default_rng(1)
    one, two = generator.random(12), generator.random(12) + 0.2
    people = np.arange(12)
    alone = paired_permutation(one, two)
    assert paired_permutation(np.tile(one, 5), np.tile(two, 5), clusters=np.tile(people, 5)) == pytest.approx(alone)
    assert compare_errors(one, two).p_value == alone


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_interval(generator.normal(size=60), num_bootstraps=300, seed=trial)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_intervals_over_people_are_wider_where_images_of_a_person_agree() -> None:
    people = np.repeat(np.arange(30), 10)
    values = np.repeat(np.random.default_rng(3).normal(size=30), 10)
    low, high = bootstrap_interval(values)
    wide_low, wide_high = bootstrap_interval(values, clusters=people)
    assert wide_high - wide_low > 2 * (high - low)
    same = cluster_bootstrap(lambda rows: float(values[rows].mean()), people, num_bootstraps=2000)
    assert same == pytest.approx((wide_low, wide_high), abs=0.06)


def test_comparing_right_answers_counts_both_kinds_of_disagreement() -> None:
    first = np.array([True] * 20 + [False] * 20)
    second = np.array([True] * 18 + [False] * 2 + [True] * 7 + [False] * 13)
    found = compare_correct(first, second, num_bootstraps=200)
    assert (found.only_first, found.only_second, found.num_images) == (2, 7, 40)
    assert found.difference == pytest.approx(5 / 40)
    assert found.p_value == mcnemar(2, 7)
    assert found.low < found.difference < found.high


def test_lists_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one number an image"):
        compare_correct([True], [True, False])
    with pytest.raises(ValueError, match="one for each"):
        bootstrap_interval([1.0, 2.0], clusters=[1])
