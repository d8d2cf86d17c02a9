"""Metrics of points, regions and ages against recorded values."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.faceptor_packs import Pack

from transface.data.crops.geometry import apply_matrix
from transface.data.crops.landmark_sets import LANDMARK_SETS
from transface.losses.ages import mean_year, year_shares
from transface.metrics.points import box_unit, diagonal_unit, distance_between, error_curve, point_errors
from transface.metrics.regions import confusion_matrix, mean_f1, region_f1
from transface.metrics.verification import verify_pairs


@pytest.fixture(scope="module")
def pack(shared: Path) -> Pack:
    return Pack(shared, "metrics")


def test_errors_in_original_pixels_equal_the_recorded_ones(pack: Pack) -> None:
    names = {key.split("/")[0] for key in pack.below("landmarks/") if "/in/pred_landmark_normalised" in key}
    assert names
    for name in sorted(names):
        assert_errors_are_the_recorded_ones(pack, name)


def assert_errors_are_the_recorded_ones(pack: Pack, name: str) -> None:
    start = f"landmarks/{name}/"
    arrays = {key: pack.arrays[start + key] for key in pack.below(start)}
    aligned = arrays["in/pred_landmark_normalised"] * 512 - 0.5
    predicted = apply_matrix(np.linalg.inv(arrays["in/crop_matrix"].astype(np.float64)), aligned)
    np.testing.assert_allclose(predicted, arrays["out/pred_landmarks_xy"], atol=1e-3)
    points, boxes, rows = arrays["in/landmarks_xy"], arrays["in/box_y1x1y2x2"], LANDMARK_SETS[name]
    units = {
        "box": box_unit(boxes),
        "diag": diagonal_unit(boxes),
        "inter_ocular": distance_between(points, *rows.eye_corners),
    }
    if rows.pupils is not None:
        units["inter_pupil"] = distance_between(points, *rows.pupils)
    checked = 0
    for unit, lengths in units.items():
        errors = point_errors(predicted, points, lengths)
        if f"out/nme_per_image_{unit}" in arrays:
            np.testing.assert_allclose(errors, arrays[f"out/nme_per_image_{unit}"], rtol=2e-5)
            np.testing.assert_allclose(errors.mean(), arrays[f"out/{unit}"], rtol=2e-5)
            np.testing.assert_allclose(
                arrays[f"out/nme_per_image_{unit}"].mean(dtype=np.float64), arrays[f"out/{unit}"], rtol=2e-6
            )
            checked += 1
        for key in arrays:
            if key.startswith(f"out/auc_{unit}_"):
                percent = int(key.rsplit("_", 1)[1])
                recorded = np.asarray(arrays[f"out/nme_per_image_{unit}"], np.float64)
                curve = error_curve(recorded, percent / 100)
                np.testing.assert_allclose(curve.errors, arrays["out/ced_x"], atol=1e-12)
                np.testing.assert_allclose(curve.share, arrays["out/ced_y"], atol=1e-12)
                np.testing.assert_allclose(curve.auc, arrays[f"out/auc_{unit}_{percent}"], atol=1e-6)
                np.testing.assert_allclose(curve.failure_rate, arrays[f"out/fr_{unit}_{percent}"], atol=1e-6)
    assert checked


def test_errors_next_to_the_threshold_count_as_recorded(pack: Pack) -> None:
    cases = {key.split("/")[0] for key in pack.below("landmarks/") if key.startswith("edge_case_")}
    assert cases
    for case in cases:  # edge_case_box_7: the threshold in percent
        curve = error_curve(pack.arrays[f"landmarks/{case}/in/nme_per_image"], int(case.rsplit("_", 1)[1]) / 100)
        np.testing.assert_allclose(curve.auc, pack.arrays[f"landmarks/{case}/out/auc"], atol=1e-6)
        np.testing.assert_allclose(curve.failure_rate, pack.arrays[f"landmarks/{case}/out/fr"], atol=1e-6)


def test_confusion_and_f1_equal_the_recorded_ones(pack: Pack) -> None:
    for name in sorted({key.split("/")[0] for key in pack.below("parsing/")}):
        start = f"parsing/{name}/"
        recorded = pack.arrays[start + "out/confusion_target_row_pred_column"]
        targets, predicted = pack.arrays[start + "in/target"], pack.arrays[start + "in/pred"]
        ours = confusion_matrix(targets, predicted, len(recorded))
        np.testing.assert_array_equal(ours, recorded)
        np.testing.assert_allclose(region_f1(ours), pack.arrays[start + "out/f1_per_class"], rtol=1e-6)
        np.testing.assert_allclose(mean_f1(region_f1(ours)), pack.arrays[start + "out/fg_mean"], rtol=1e-6)


def test_a_class_nobody_has_makes_the_mean_nan_or_is_left_out() -> None:
    f1 = region_f1(confusion_matrix(np.array([0, 1]), np.array([0, 1]), 3))
    assert np.isnan(mean_f1(f1))
    assert mean_f1(f1, absent="skip") == 1


def test_age_errors_equal_the_recorded_ones(pack: Pack) -> None:
    predicted = mean_year(year_shares(pack["age/in/logits"])).numpy()
    np.testing.assert_allclose(predicted, pack.arrays["age/out/predicted_age"], rtol=2e-5)
    error = np.abs(predicted.astype(np.float64) - pack.arrays["age/in/age"])
    np.testing.assert_allclose(error.mean(), pack.arrays["age/out/mae"], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(100 * (error <= 5).mean(), pack.arrays["age/out/cs"], rtol=1e-6)
    np.testing.assert_allclose(1 - np.exp(-(error**2) / 18).mean(), pack.arrays["age/out/eps_error"], rtol=1e-5)


def test_expression_and_attribute_accuracy_equal_the_recorded_ones(pack: Pack) -> None:
    right = pack["expression/in/logits"].argmax(1) == pack["expression/in/label"]
    np.testing.assert_allclose(100 * right.double().mean(), pack.arrays["expression/out/accuracy_percent"], rtol=1e-6)
    given = (pack["attributes/in/logits"] > 0).to(torch.int64)
    share = 100 * (given == pack["attributes/in/label"]).double().mean(0)
    np.testing.assert_allclose(share, pack.arrays["attributes/out/accuracy_percent_per_attribute"], rtol=1e-6)
    np.testing.assert_allclose(share.mean(), pack.arrays["attributes/out/mean_accuracy_percent"], rtol=1e-6)


def test_verification_equals_the_recorded_one(pack: Pack) -> None:
    embeddings = pack["verification/in/embedding"] + pack["verification/in/embedding_of_flipped"]
    result = verify_pairs(embeddings.numpy(), pack.arrays["verification/in/issame"])
    np.testing.assert_allclose(result.fold_accuracies, pack.arrays["verification/out/accuracy_per_fold"], atol=1e-12)
    np.testing.assert_allclose(result.accuracy_mean, pack.arrays["verification/out/accuracy_mean"], atol=1e-12)
    np.testing.assert_allclose(result.accuracy_std, pack.arrays["verification/out/accuracy_std"], atol=1e-12)
