"""TAR at FAR equals scikit-learn's ROC curve (nearest) and a naive loop over all thresholds (strict), exactly, ties
included.
"""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from transface.metrics.tar_at_far import TarAtFar, operating_points, tar_at_far


def nearest_by_scikit_learn(genuine: np.ndarray, impostor: np.ndarray, far: float) -> float:
    labels = np.concatenate([np.ones(len(genuine)), np.zeros(len(impostor))])
    fpr, tpr, _ = roc_curve(labels, np.concatenate([genuine, impostor]), drop_intermediate=True)
    _, index = min(zip(abs(fpr[::-1] - far), range(len(fpr)), strict=True))
    return float(tpr[::-1][index])


def strict_by_a_loop(genuine: np.ndarray, impostor: np.ndarray, far: float) -> float:
    thresholds = np.concatenate([[np.inf], genuine, impostor])
    return max(float(np.mean(genuine >= t)) for t in thresholds if np.mean(impostor >= t) <= far)


def some_scores(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    genuine = random.normal(random.random() * 4, 1, random.integers(1, 60))
    impostor = random.normal(0, 1, random.integers(1, 400))
    if seed % 3:
        genuine, impostor = genuine.round(seed % 3 - 1), impostor.round(seed % 3 - 1)
    return (genuine, impostor) if seed % 2 else (genuine.astype(np.float32), impostor.astype(np.float32))


@pytest.mark.parametrize("seed", range(120))
def test_both_rules_equal_their_references(seed: int) -> None:
    genuine, impostor = some_scores(seed)
    exact = np.arange(len(impostor) + 1)[:: max(1, len(impostor) // 7)] / len(impostor)
    for far in [0.0, 1e-6, 1e-3, 0.01, 0.1, 1 / 3, 0.9, 1.0, *exact]:
        assert tar_at_far(genuine, impostor, far) == nearest_by_scikit_learn(genuine, impostor, far), far
        assert tar_at_far(genuine, impostor, far, rule="strict") == strict_by_a_loop(genuine, impostor, far), far


def test_many_impostors_beyond_the_tail_equal_scikit_learn() -> None:
    random = np.random.default_rng(0)
    genuine, impostor = random.normal(3, 1, 2000).astype(np.float32), random.normal(0, 1, 300_000).astype(np.float32)
    fars = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 0.7]
    expected = [nearest_by_scikit_learn(genuine, impostor, far) for far in fars]
    np.testing.assert_array_equal(tar_at_far(genuine, impostor, fars), expected)


def test_a_gap_without_genuine_scores_is_searched_to_the_next_corner() -> None:
    # All genuine lie above: the only kept points are near FAR 0 and at FAR 1, far beyond the first tail looked at.
    genuine, impostor = np.linspace(5, 6, 50), np.linspace(0, 1, 5000)
    for far in (1e-4, 0.3, 0.6):
        assert tar_at_far(genuine, impostor, far) == nearest_by_scikit_learn(genuine, impostor, far)


@pytest.mark.parametrize("seed", range(20))
def test_an_operating_point_is_what_its_threshold_accepts(seed: int) -> None:
    genuine, impostor = some_scores(seed)
    for point in operating_points(genuine, impostor, [0.0, 0.01, 0.2, 1.0]):
        assert point.tar == np.mean(genuine >= point.threshold)
        assert point.num_false_accepts == np.sum(impostor >= point.threshold)
        assert point.far == point.num_false_accepts / len(impostor)
        assert point.rule == "nearest" or point.far <= point.target


def test_lists_tensors_and_mixed_precision_are_taken() -> None:
    genuine, impostor = some_scores(3)
    as_tensors = tar_at_far(torch.from_numpy(genuine), torch.from_numpy(impostor), 0.1)
    assert as_tensors == tar_at_far(genuine.tolist(), impostor.tolist(), 0.1) == tar_at_far(genuine, impostor, [0.1])[0]
    assert isinstance(as_tensors, float)
    mixed = tar_at_far(genuine.astype(np.float32), impostor, 0.1)
    assert mixed == nearest_by_scikit_learn(genuine.astype(np.float32), impostor, 0.1)


@pytest.mark.parametrize(
    ("genuine", "impostor", "far", "rule", "message"),
    [
        ([], [0.1], 0.1, "nearest", "genuine scores must be a non-empty"),
        ([0.1], [], 0.1, "strict", "impostor scores must be a non-empty"),
        ([float("nan"), 1.0], [0.1], 0.1, "strict", "1 of 2 genuine scores are NaN"),
        ([0.1], [0.1, float("inf"), float("nan")], 0.1, "nearest", "2 of 3 impostor scores"),
        ([0.1], [0.1], 1.1, "nearest", r"lies in \[0, 1\]"),
        ([0.1], [0.1], float("nan"), "nearest", r"lies in \[0, 1\]"),
        ([0.1], [0.1], 0.1, "linear", "rule must be"),
    ],
)
def test_bad_input_is_refused(genuine: list[float], impostor: list[float], far: float, rule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tar_at_far(genuine, impostor, far, rule=rule)  # type: ignore[call-overload]


def test_the_metric_gathers_batches() -> None:
    genuine, impostor = some_scores(7)
    scores = torch.from_numpy(np.concatenate([genuine, impostor]))
    is_same = torch.arange(len(scores)) < len(genuine)
    metric = TarAtFar([0.01, 0.1])
    for index in torch.randperm(len(scores)).split(17):
        metric.update(scores[index], is_same[index])
    assert metric.compute() == operating_points(genuine, impostor, [0.01, 0.1])
    with pytest.raises(ValueError, match="want scores"):
        metric.update(scores, is_same[:3])


def test_a_target_in_float32_means_the_number_it_is_written_as() -> None:
    genuine, impostor = np.linspace(0, 2, 50), np.linspace(-1, 1, 500)
    fars = [0.01, 0.1, 0.5, 1 / 3]
    expected = [tar_at_far(genuine, impostor, far, rule="strict") for far in fars]
    assert tar_at_far(genuine, impostor, torch.tensor(fars), rule="strict").tolist() == expected
    assert tar_at_far(genuine, impostor, np.float32(fars), rule="strict").tolist() == expected
    assert tar_at_far(genuine, impostor, torch.tensor(0.01), rule="strict") == expected[0]
