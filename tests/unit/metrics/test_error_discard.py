"""Error-versus-discard curves against a naive loop, and their ends."""

import numpy as np
import pytest

from transface.metrics.error_discard import (
    area_intervals,
    best_area,
    error_discard_curve,
    pair_quality,
    partial_area,
    refitted_discard_curve,
    relative_area,
    threshold_at_false_match_rate,
)


def naive(errors: np.ndarray, quality: np.ndarray) -> tuple[list[float], list[float]]:
    shares, rates = [], []
    for level in sorted(set(quality.tolist())):
        left = [bool(error) for error, own in zip(errors, quality, strict=True) if own >= level]
        shares.append(1 - len(left) / len(errors))
        rates.append(sum(left) / len(left))
    return [*shares, 1.0], [*rates, 0.0]


@pytest.mark.parametrize("levels", [4, 50, 100_000])
def test_the_curve_is_the_naive_one(levels: int) -> None:
    rng = np.random.default_rng(levels)
    quality = pair_quality(rng.integers(0, levels, (300, 2)) / levels)
    errors = rng.random(300) < 0.3 * (1 - quality)
    curve = error_discard_curve(errors, quality)
    shares, rates = naive(errors, quality)
    np.testing.assert_allclose(curve.discarded, shares, atol=1e-12)
    np.testing.assert_allclose(curve.error, rates, atol=1e-12)
    fine = np.linspace(0, 0.4, 40_001)[:-1]
    steps = curve.error[np.searchsorted(curve.discarded, fine, side="right") - 1]
    assert partial_area(curve, 0.4) == pytest.approx(steps.mean() * 0.4, abs=1e-4)


def test_perfect_quality_reaches_the_least_area_and_order_does_not_matter() -> None:
    errors = np.arange(10_000) < 1000
    quality = np.arange(10_000) / 10_000
    curve = error_discard_curve(errors, quality)
    shuffled = np.random.default_rng(0).permutation(10_000)
    again = error_discard_curve(errors[shuffled], quality[shuffled])
    np.testing.assert_array_equal(curve.error, again.error)
    # Of the pairs left; the least area counts them as of all, so that it lies a little below what can be reached.
    assert best_area(0.1, 0.3) == pytest.approx(0.005)
    assert 0 <= relative_area(curve, 0.3) < 0.01
    assert relative_area(error_discard_curve(errors, -quality), 0.3) > 0.2


def test_equal_qualities_go_together_and_few_pairs_end_the_curve() -> None:
    curve = error_discard_curve(np.array([True, False, True, False]), np.ones(4))
    assert curve.discarded.tolist() == [0, 1]
    assert curve.error.tolist() == [0.5, 0]
    short = error_discard_curve(np.zeros(100, bool), np.arange(100.0), fewest_left=30)
    assert short.discarded[-1] == pytest.approx(0.7)
    with pytest.raises(ValueError, match="at least one pair"):
        error_discard_curve(np.zeros(0, bool), np.zeros(0))


def test_thresholds_hold_their_false_match_rate() -> None:
    scores = np.random.default_rng(0).normal(size=1000)
    for rate in (0.0, 0.001, 0.01, 0.1):
        assert (scores >= threshold_at_false_match_rate(scores, rate)).mean() <= rate
    assert (scores >= threshold_at_false_match_rate(scores, 0.01)).sum() == 10
    assert threshold_at_false_match_rate(scores, 1.0) == scores.min()


def test_the_interval_holds_its_value_and_survives_no_errors() -> None:
    rng = np.random.default_rng(0)
    people, quality = np.repeat(np.arange(60), 5), rng.random(300)
    found = area_intervals(rng.random(300) < 0.3 * (1 - quality), quality, people, limit=0.2, num_bootstraps=100)
    assert found.low < found.value < found.high
    nothing = area_intervals(np.zeros(300, bool), quality, people, limit=0.2, num_bootstraps=5)
    assert np.isnan([*nothing]).all()


def test_a_threshold_found_anew_is_that_of_a_naive_loop() -> None:
    rng = np.random.default_rng(0)
    is_same = rng.random(200) < 0.4
    scores = np.round(rng.normal(is_same * 1.0, 1.0), 1)  # with ties
    quality = np.round(rng.random(200), 1)
    curve = refitted_discard_curve(scores, is_same, quality, rate=0.1)
    for share, error in zip(curve.discarded, curve.error, strict=True):
        left = sorted(range(200), key=lambda pair: (quality[pair], pair))[int(share * 200) :]
        genuine = [scores[pair] for pair in left if is_same[pair]]
        impostor = [scores[pair] for pair in left if not is_same[pair]]

        def misses(threshold: float, impostor: list[float] = impostor) -> float:
            return abs(sum(score >= threshold for score in impostor) / len(impostor) - 0.1)

        threshold = min(sorted(scores[pair] for pair in left), key=misses)
        assert error == sum(score <= threshold for score in genuine) / len(genuine)


def test_a_share_that_leaves_no_pairs_of_a_kind_is_refused() -> None:
    scores, is_same = np.arange(20.0), np.arange(20) < 4
    with pytest.raises(ValueError, match=r"without 0\.2 of the pairs 0 genuine and 16 impostor are left"):
        refitted_discard_curve(scores, is_same, np.arange(20.0), rate=0.1)
    with pytest.raises(ValueError, match="not finite"):
        refitted_discard_curve(scores, is_same, np.full(20, np.nan), rate=0.1)
