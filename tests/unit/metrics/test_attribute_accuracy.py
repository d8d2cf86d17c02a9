import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score

from transface.metrics.attribute_accuracy import (
    attribute_counts,
    average_precision,
    best_thresholds,
    calibration_error,
    majority_accuracy,
)

GENERATOR = np.random.default_rng(0)
VALUES = (GENERATOR.random((200, 5)) < np.array([0.1, 0.5, 0.9, 0.4, 0.0])).astype(np.uint8)
SCORES = np.round(np.clip(GENERATOR.normal(0.3 + 0.4 * VALUES, 0.3), 0, 1), 2)
KNOWN = GENERATOR.random(VALUES.shape) < 0.8


def test_counts_of_parts_add_up_and_the_mean_is_that_of_single_answers() -> None:
    whole = attribute_counts(SCORES >= 0.5, VALUES, KNOWN)
    parts = [
        attribute_counts(SCORES[rows] >= 0.5, VALUES[rows], KNOWN[rows]) for rows in (slice(0, 63), slice(63, None))
    ]
    assert all(np.array_equal(one, other) for one, other in zip(parts[0].plus(parts[1]), whole, strict=True))
    every = np.ones_like(KNOWN)
    right = attribute_counts(SCORES >= 0.5, VALUES, every).accuracy()
    assert right.mean() == pytest.approx(((SCORES >= 0.5) == VALUES).mean())


def test_rates_equal_scikit_learn_s_over_the_known_labels() -> None:
    counts, precision = attribute_counts(SCORES >= 0.5, VALUES, KNOWN), average_precision(SCORES, VALUES, KNOWN)
    for column in range(4):
        rows = KNOWN[:, column]
        truth, answer = VALUES[rows, column], SCORES[rows, column] >= 0.5
        assert counts.balanced_accuracy()[column] == pytest.approx(balanced_accuracy_score(truth, answer))
        assert precision[column] == pytest.approx(average_precision_score(truth, SCORES[rows, column]))
        rare = int(truth.mean() <= 0.5)
        assert counts.minority_f1()[column] == pytest.approx(f1_score(truth, answer, pos_label=rare))
    assert np.isnan(precision[4])
    assert np.isnan(counts.balanced_accuracy()[4])


def test_the_majority_of_training_answers_the_test() -> None:
    found = majority_accuracy(np.array([0.1, 0.6, 0.9, 0.4, 0.0]), VALUES, np.ones_like(KNOWN))
    assert found.tolist() == pytest.approx(
        [1 - VALUES[:, 0].mean(), VALUES[:, 1].mean(), VALUES[:, 2].mean(), 1 - VALUES[:, 3].mean(), 1.0]
    )


def test_calibration_error_equals_a_loop_over_bins() -> None:
    found = calibration_error(SCORES, VALUES, KNOWN, num_bins=10)
    for column in range(5):
        rows = KNOWN[:, column]
        p, y = SCORES[rows, column], VALUES[rows, column]
        place = np.minimum((p * 10).astype(int), 9)
        gap = sum(
            (place == k).mean() * abs(p[place == k].mean() - y[place == k].mean())
            for k in range(10)
            if (place == k).any()
        )
        assert found[column] == pytest.approx(gap)


def test_the_best_threshold_is_as_good_as_the_best_of_all() -> None:
    found = best_thresholds(SCORES, VALUES, KNOWN)
    reached = attribute_counts(found <= SCORES, VALUES, KNOWN).accuracy()
    grid = [attribute_counts(cut <= SCORES, VALUES, KNOWN).accuracy() for cut in np.linspace(-0.001, 1.001, 2005)]
    np.testing.assert_allclose(reached, np.max(grid, axis=0))


def test_nothing_known_is_no_number() -> None:
    none = np.zeros_like(KNOWN)
    assert np.isnan(attribute_counts(SCORES >= 0.5, VALUES, none).accuracy()).all()
    assert np.isnan(calibration_error(SCORES, VALUES, none)).all()
    assert (best_thresholds(SCORES, VALUES, none) == 0.5).all()
