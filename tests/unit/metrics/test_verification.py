"""Ten-fold verification equals a naive loop over thresholds and folds, on many inputs, ties and boundaries included."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from transface.metrics.verification import (
    THRESHOLDS,
    PairVerification,
    fold_accuracies,
    fold_of_each_pair,
    pair_distances,
    verify_distances,
    verify_pairs,
)


def naive_fold_accuracies(distances: np.ndarray, same: np.ndarray, num_folds: int) -> tuple[list[float], list[float]]:
    accuracies, thresholds = [], []
    for train, test in KFold(n_splits=num_folds, shuffle=False).split(np.arange(len(same))):
        scores = [np.mean(np.less(distances[train], t) == same[train]) for t in np.arange(0, 4, 0.01)]
        best = np.arange(0, 4, 0.01)[int(np.argmax(scores))]
        thresholds.append(best)
        accuracies.append(np.mean(np.less(distances[test], best) == same[test]))
    return accuracies, thresholds


@pytest.mark.parametrize("seed", range(12))
def test_folds_equal_the_naive_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    num_pairs, num_folds = int(random.integers(20, 150)), int(random.integers(2, 11))
    same = random.random(num_pairs) < 0.5
    distances = np.clip(random.normal(np.where(same, 1.0, 1.8), 0.5), 0, 4)
    if seed % 3 == 0:
        distances = np.round(distances, 2)  # on the thresholds themselves, and tied
    if seed % 2:
        distances = distances.astype(np.float32)
    result = verify_distances(distances, same, num_folds=num_folds)
    accuracies, thresholds = naive_fold_accuracies(distances, same, num_folds)
    np.testing.assert_array_equal(result.fold_accuracies, accuracies)
    np.testing.assert_array_equal(result.thresholds, thresholds)
    assert result.accuracy_mean == np.mean(accuracies)
    assert result.accuracy_std == np.std(accuracies)
    np.testing.assert_allclose(result.auc, roc_auc_score(same, -distances.astype(np.float64)), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_best_threshold_is_the_best_of_all_cuts(seed: int) -> None:
    random = np.random.default_rng(seed)
    distances, same = np.round(random.random(60) * 4, 1), random.random(60) < 0.5
    result = verify_distances(distances, same, num_folds=3)
    cuts = np.concatenate([np.unique(distances) - 1e-9, [5.0]])
    assert result.best_accuracy == max(np.mean((distances < cut) == same) for cut in cuts)
    assert np.mean((distances < result.best_threshold) == same) == result.best_accuracy


def test_a_distance_on_a_threshold_is_not_below_it() -> None:
    same = np.array([True, False] * 4)
    distances = np.where(same, THRESHOLDS[150], THRESHOLDS[151])
    result = verify_distances(distances, same, num_folds=4)
    assert set(result.thresholds) == {THRESHOLDS[151]}
    assert result.accuracy_mean == 1


def test_equal_error_rate_of_two_shifted_normals() -> None:
    random = np.random.default_rng(0)
    distances = np.concatenate([random.normal(1, 0.25, 100_000), random.normal(2, 0.25, 100_000)])
    result = verify_distances(distances, np.arange(200_000) < 100_000)
    assert result.eer == pytest.approx(0.02275, abs=1e-3)


def test_tpr_and_fpr_are_means_over_folds() -> None:
    random = np.random.default_rng(1)
    distances, same = random.random(50) * 4, random.random(50) < 0.5
    result = verify_distances(distances, same, num_folds=5)
    folds = fold_of_each_pair(50, 5)
    for index in (0, 57, 399):
        rates = [np.mean(distances[(folds == f) & same] < THRESHOLDS[index]) for f in range(5)]
        assert result.tpr[index] == pytest.approx(np.mean(rates))


def test_folds_are_those_of_scikit_learn() -> None:
    expected = np.empty(47, int)
    for number, (_, test) in enumerate(KFold(10).split(np.zeros(47))):
        expected[test] = number
    np.testing.assert_array_equal(fold_of_each_pair(47), expected)


def test_rows_of_any_length_are_normalised_and_unit_rows_are_left() -> None:
    rows = torch.randn(40, 8)
    unit = torch.nn.functional.normalize(rows)
    same = torch.arange(20) % 2 == 0
    np.testing.assert_allclose(fold_accuracies(rows * 5, same), fold_accuracies(unit, same))
    np.testing.assert_array_equal(
        pair_distances(unit), np.sum(np.square(unit[0::2].numpy() - unit[1::2].numpy()), axis=1)
    )


def test_bfloat16_and_lists_are_taken() -> None:
    unit = torch.nn.functional.normalize(torch.randn(40, 8))
    same = [True, False] * 10
    assert fold_accuracies(unit.bfloat16(), same).shape == (10,)
    np.testing.assert_array_equal(fold_accuracies(unit.tolist(), same), fold_accuracies(unit.double(), same))


@pytest.mark.parametrize(
    ("rows", "same", "folds", "message"),
    [
        (torch.ones(39, 8), [True] * 20, 10, "rows 2i and 2i"),
        (torch.ones(40, 8), [True] * 20, 10, "needs both classes"),
        (torch.ones(40, 8), [False] * 20, 10, "needs both classes"),
        (torch.ones(40, 8), [True, False] * 9, 10, "one label for each"),
        (torch.full((40, 8), float("nan")), [True, False] * 10, 10, "NaN"),
        (torch.zeros(40, 8), [True, False] * 10, 10, "all zero"),
        (torch.ones(16, 8), [True, False] * 4, 10, "num_folds must be in 2..8"),
    ],
)
def test_bad_input_is_refused(rows: torch.Tensor, same: list[bool], folds: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verify_pairs(rows, same, num_folds=folds)
    with pytest.raises(ValueError, match="NaN"):
        verify_distances(np.array([0.1, np.nan]), [True, False], num_folds=2)


def test_the_metric_takes_batches_in_any_order_and_repeats() -> None:
    unit = torch.nn.functional.normalize(torch.randn(40, 8))
    same = torch.arange(20) % 3 == 0
    metric = PairVerification(same)
    order = torch.cat([torch.randperm(40), torch.tensor([3, 0])])
    for positions in order.split(9):
        metric.update(unit[positions], positions)
    np.testing.assert_array_equal(metric.compute().fold_accuracies, fold_accuracies(unit, same))
    metric.reset()
    metric.update(unit[:10], torch.arange(10))
    with pytest.raises(ValueError, match="30 of 40 images"):
        metric.compute()
    with pytest.raises(ValueError, match="positions"):
        metric.update(unit[:10], torch.arange(9))


@pytest.mark.parametrize("labels", [[1, -1] * 10, [1.0, float("nan")] * 10, ["1", "0"] * 10, [2, 0] * 10], ids=str)
def test_labels_other_than_yes_and_no_are_refused_by_what_they_are(labels: list[object]) -> None:
    embeddings = np.random.default_rng(0).normal(size=(40, 8))
    with pytest.raises(ValueError, match="True or False"):
        fold_accuracies(embeddings, labels)  # type: ignore[arg-type]


def test_labels_may_be_any_numbers_that_say_yes_and_no() -> None:
    embeddings = np.random.default_rng(0).normal(size=(40, 8))
    same = np.array([True, False] * 10)
    expected = fold_accuracies(embeddings, same).tolist()
    for labels in (
        same.tolist(),
        same.astype(np.uint8),
        same.astype(">f8"),
        same.astype(object),
        torch.tensor(same),
        torch.tensor(same).bfloat16(),
    ):
        assert fold_accuracies(embeddings, labels).tolist() == expected


@pytest.mark.parametrize("position", [-1, 8])
def test_a_position_of_no_image_is_refused(position: int) -> None:
    metric = PairVerification([True, False, True, False], num_folds=2)
    metric.update(torch.randn(8, 4), torch.arange(8))
    metric.update(torch.randn(1, 4), torch.tensor([position]))
    with pytest.raises(ValueError, match=r"positions must be in 0\.\.7, got"):
        metric.compute()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_fed_is_said_so() -> None:
    with pytest.raises(ValueError, match="8 of 8 images of the pair set were not embedded"):
        PairVerification([True, False, True, False], num_folds=2).compute()
