"""Fold accuracies and mean ROC rates equal those recorded from the published ten-fold script, exactly."""

from pathlib import Path

import numpy as np
import pytest
import torch

from transface.metrics.verification import THRESHOLDS, fold_accuracies, verify_pairs


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
def test_ten_fold_figures_equal_the_recorded_ones(shared: Path, difficulty: str) -> None:
    recorded = np.load(shared / "parity/transface/verification_10fold.npz")
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
