"""Template features, pair scores and TAR equal those recorded from the published IJB-C script, from arrays and from its
meta files.
"""

from pathlib import Path

import numpy as np
import pytest

from transface.data.benchmarks.templates import read_template_set
from transface.evaluation.recognition import template_pooling as ijbc
from transface.evaluation.recognition.template_pooling import pool_templates, score_pairs
from transface.metrics.tar_at_far import IJB_FARS, tar_at_far


@pytest.mark.parametrize(("recorded_as", "mode"), [("norm_and_detector", "N1D1F1"), ("unit_no_detector", "N0D0F1")])
@pytest.mark.parametrize("direct_pairs", [1 << 18, 0], ids=["one by one", "by blocks"])
def test_the_recorded_run_is_reproduced(
    shared: Path, recorded_as: str, mode: str, direct_pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = np.load(shared / "parity/transface/ijbc.npz")
    protocol = read_template_set(shared / "parity/transface/ijbc_meta", "ijbc")
    original, flipped = np.split(recorded["embedding_original_then_flipped"], 2, axis=1)
    monkeypatch.setattr(ijbc, "DIRECT_PAIRS", direct_pairs)
    pooled = pool_templates(
        original,
        protocol.template_ids,
        protocol.media_ids,
        flipped=flipped,
        detector_scores=recorded["detector_score"],
        mode=mode,
    )
    np.testing.assert_array_equal(pooled.ids, recorded[f"{recorded_as}/template_ids"])
    np.testing.assert_allclose(pooled.features, recorded[f"{recorded_as}/template_features"], atol=1e-6)
    scores = score_pairs(pooled, protocol.pair_templates)
    np.testing.assert_allclose(scores, recorded[f"{recorded_as}/pair_scores"], atol=1e-6)
    same = protocol.pair_is_same
    # From the recorded scores: a rounding of ours may move one of them across a threshold.
    stored = recorded[f"{recorded_as}/pair_scores"]
    tar = tar_at_far(stored[same], stored[~same], IJB_FARS, rule="nearest")
    np.testing.assert_array_equal(tar, recorded[f"{recorded_as}/tar_at_far_1e-6_to_1e-1"])


def test_the_meta_files_hold_what_was_recorded(shared: Path) -> None:
    recorded = np.load(shared / "parity/transface/ijbc.npz")
    protocol = read_template_set(shared / "parity/transface/ijbc_meta")
    np.testing.assert_array_equal(protocol.template_ids, recorded["template_id"])
    np.testing.assert_array_equal(protocol.media_ids, recorded["media_id"])
    np.testing.assert_allclose(protocol.detector_scores, recorded["detector_score"], atol=1e-6)
    np.testing.assert_array_equal(
        protocol.pair_templates, np.stack([recorded["pair_template_1"], recorded["pair_template_2"]], axis=1)
    )
    np.testing.assert_array_equal(protocol.pair_is_same, recorded["pair_label"] == 1)
