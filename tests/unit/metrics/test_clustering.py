"""Scores of clusters against loops over pairs and faces."""

import itertools

import numpy as np
import pytest

from transface.metrics.clustering import bcubed_scores, pairwise_scores


def apart(clusters: np.ndarray) -> np.ndarray:
    """Noise as clusters of one."""
    return np.array([label if label >= 0 else 1000 + place for place, label in enumerate(clusters)])


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_naive_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people, clusters = rng.integers(0, 6, 40), rng.integers(-1, 5, 40)
    own = apart(clusters)
    pairs = [(people[a] == people[b], own[a] == own[b]) for a, b in itertools.combinations(range(40), 2)]
    both = sum(p and c for p, c in pairs)
    found = pairwise_scores(people, clusters)
    assert found.precision == pytest.approx(both / sum(c for _, c in pairs))
    assert found.recall == pytest.approx(both / sum(p for p, _ in pairs))
    precision = np.mean([(people[own == own[i]] == people[i]).mean() for i in range(40)])
    recall = np.mean([(own[people == people[i]] == own[i]).mean() for i in range(40)])
    assert bcubed_scores(people, clusters)[:2] == pytest.approx((precision, recall))


def test_both_ends() -> None:
    people = np.repeat(np.arange(5), 4)
    assert pairwise_scores(people, people) == (1, 1, 1)
    assert bcubed_scores(people, people) == pytest.approx((1, 1, 1))
    noise = pairwise_scores(people, np.full(20, -1))
    assert np.isnan(noise.precision)
    assert noise.recall == 0
    assert bcubed_scores(people, np.full(20, -1))[:2] == pytest.approx((1, 0.25))
    with pytest.raises(ValueError, match="at least one face"):
        pairwise_scores(people, people[:3])
