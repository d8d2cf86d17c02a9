"""Any number of pairs and people gets its figures, and an interval that is right or none; no traceback, no NaN."""

import math
import warnings

import numpy as np
import pytest

from transface.evaluation.recognition.pair_results import PairScores, summarise_tar
from transface.evaluation.recognition.rfw import EQUAL_GROUPS, group_measures
from transface.evaluation.recognition.search_results import measure_searches
from transface.evaluation.results import Measure
from transface.metrics.confidence import accuracy_interval, is_measured
from transface.metrics.identification import search

FARS = (0.0, 1e-3, 1e-2, 0.1, 1.0)


def people_of(kind: str, is_same: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    if kind == "not known":
        return None
    first = rng.integers(0, 4, len(is_same)) if kind == "four" else np.zeros(len(is_same), int)
    step = 1 + rng.integers(0, 3, len(is_same)) if kind == "four" else np.ones(len(is_same), int)
    return np.stack([first, np.where(is_same, first, (first + step) % 4)], axis=1)


@pytest.mark.parametrize("people", ["not known", "four", "two"])
@pytest.mark.parametrize("num_genuine", [1, 2, 5, 8])
@pytest.mark.parametrize("num_impostors", [1, 2, 3, 5, 6, 8])
@pytest.mark.parametrize("num_bootstraps", [0, 2, 60])
def test_few_pairs_have_finite_figures_and_intervals(
    people: str, num_genuine: int, num_impostors: int, num_bootstraps: int
) -> None:
    is_same = np.arange(num_genuine + num_impostors) < num_genuine
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scores = rng.normal(np.where(is_same, 0.5, 0.0), 0.3)
        pairs = PairScores(scores, is_same, people_of(people, is_same, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = summarise_tar(pairs, FARS, num_bootstraps=num_bootstraps, seed=seed)
        for measure in found.measures:
            assert 0 <= measure.value <= 1
            assert measure.low is None or 0 <= measure.low <= measure.value <= measure.high <= 1
        assert found.roc is not None
        assert all(map(math.isfinite, found.roc.tar_low + found.roc.tar_high))


def test_an_interval_is_withheld_where_less_than_one_impostor_is_expected() -> None:
    rng = np.random.default_rng(0)
    is_same = np.arange(4000) < 2000
    pairs = PairScores(rng.normal(np.where(is_same, 0.4, 0.0), 0.15), is_same)
    fars = (1e-5, 4.9e-4, 5e-4, 1e-3, 1e-2)
    found = summarise_tar(pairs, fars, num_bootstraps=200, seed=0)
    for rule in ("nearest", "strict"):
        own = [m for m in found.measures if m.name.endswith(rule)]
        assert [m.low is None for m in own] == [True, True, False, False, False]
        assert [m.high is None for m in own] == [True, True, False, False, False]
        assert "less than one of them" in own[0].warning
    assert is_measured(1 / 2000, 2000)
    assert not is_measured(0.99 / 2000, 2000)


def test_open_set_rates_are_withheld_alike() -> None:
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(10, 8))
    probes = np.concatenate([gallery + 0.3 * rng.normal(size=gallery.shape), rng.normal(size=(10, 8))])
    found = measure_searches(
        search(probes, np.arange(20), gallery, np.arange(10)),
        np.arange(20),
        ranks=[1],
        fpirs=[0.01, 0.2],
        num_bootstraps=50,
        seed=0,
    )
    rare, frequent = (next(m for m in found.measures if m.name == f"tpir@fpir={fpir}") for fpir in ("0.01", "0.2"))
    assert rare.low is None
    assert frequent.low is not None


@pytest.mark.parametrize("num_pairs", [1, 2, 3])
@pytest.mark.parametrize("with_people", [False, True])
def test_an_accuracy_of_few_pairs_has_a_finite_interval(num_pairs: int, with_people: bool) -> None:
    for right in (np.ones(num_pairs, bool), np.zeros(num_pairs, bool), np.arange(num_pairs) == 0):
        people = np.stack([np.arange(num_pairs), np.arange(num_pairs) + 1], axis=1) if with_people else None
        for num_bootstraps in (2, 30):
            found = accuracy_interval(right, np.arange(num_pairs), subjects=people, num_bootstraps=num_bootstraps)
            assert 0 <= found.low <= right.mean() <= found.high <= 1


def groups(values: list[float], size: int = 6000) -> dict[str, Measure]:
    names = ["African", "Asian", "Caucasian", "Indian"]
    made = group_measures(
        [Measure("accuracy", value) for value in values], names, np.full(4, size), num_bootstraps=400, seed=0
    )
    return {measure.name: measure for measure in made}


def test_the_error_ratio_of_equal_groups_stands_beside_the_measured_one() -> None:
    errors = np.random.default_rng(3).binomial(6000, 0.01, size=(2000, 4)) / 6000
    by_chance = errors.max(axis=1) / errors.min(axis=1)
    found = groups([0.99, 0.99, 0.99, 0.99])
    expected = found[EQUAL_GROUPS]
    assert expected.value == pytest.approx(by_chance.mean(), rel=0.03)
    assert expected.low == pytest.approx(np.quantile(by_chance, 0.025), rel=0.05)
    assert expected.high == pytest.approx(np.quantile(by_chance, 0.975), rel=0.1)
    assert expected.better is None
    assert "by chance" in found["skewed_error_ratio"].warning


def test_groups_that_differ_by_more_than_chance_are_not_warned_of() -> None:
    found = groups([0.99, 0.97, 0.995, 0.99])
    assert found["skewed_error_ratio"].value > found[EQUAL_GROUPS].high
    assert found["skewed_error_ratio"].warning == ""
