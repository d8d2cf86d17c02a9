"""Fold accuracies and mean ROC rates equal those recorded from the published ten-fold script, exactly."""

from pathlib import Path

import numpy as np
import pytest
import torch

from transface.metrics.verification import THRESHOLDS, fold_accuracies, verify_pairs


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "parity/transface/verification_10fold.npz"))


def test_ten_fold_figures_equal_the_recorded_ones(recorded: dict[str, np.ndarray]) -> None:
    difficulties = [key.removesuffix("/embeddings") for key in recorded if key.endswith("/embeddings")]
    assert difficulties
    for difficulty in difficulties:
        assert_figures_are(recorded, difficulty)


def assert_figures_are(recorded: dict[str, np.ndarray], difficulty: str) -> None:
    embeddings, is_same = recorded[f"{difficulty}/embeddings"], recorded[f"{difficulty}/is_same"]
    result = verify_pairs(embeddings, is_same)
    np.testing.assert_array_equal(result.fold_accuracies, recorded[f"{difficulty}/fold_accuracy"])
    np.testing.assert_array_equal(
        fold_accuracies(torch.from_numpy(embeddings), torch.from_numpy(is_same)), result.fold_accuracies
    )
    assert result.accuracy_mean == recorded[f"{difficulty}/accuracy_mean"]
    assert result.accuracy_std == recorded[f"{difficulty}/accuracy_std"]
    np.testing.assert_array_equal(THRESHOLDS, recorded[f"{difficulty}/thresholds_squared_distance"])
    np.testing.assert_array_equal(result.tpr, recorded[f"{difficulty}/tpr"])
    np.testing.assert_array_equal(result.fpr, recorded[f"{difficulty}/fpr"])
