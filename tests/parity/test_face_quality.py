"""Token quality and error-versus-discard curves agree with the released programs' numbers (shared/parity/fiqa)."""

import json
import re

import numpy as np
import pytest
import torch
from tests.conftest import shared_folder

from transface.backbones.released import load_released
from transface.metrics.error_discard import (
    best_area,
    error_discard_curve,
    pair_quality,
    partial_area,
    refitted_discard_curve,
    threshold_at_error,
)
from transface.metrics.token_quality import token_distances, token_quality

PACK = shared_folder() / "parity" / "fiqa"
pytestmark = pytest.mark.skipif(not (PACK / "ntfiqa.npz").is_file(), reason="no recorded numbers: set TRANSFACE_SHARED")


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(PACK / name, allow_pickle=False) as stored:
        return dict(stored)


def test_distances_are_the_released_ones() -> None:
    z = load("ntfiqa.npz")
    found = token_distances(*(torch.from_numpy(z[f"in/{key}"]) for key in ("tokens", "norm_weight", "norm_bias")))
    np.testing.assert_allclose(found.numpy(), z["out/distance"], atol=2e-5)


def test_tokens_of_every_block_are_the_released_ones() -> None:
    z = load("ntfiqa.npz")
    config = json.loads(str(z["cfg_json"]))
    state = {key.removeprefix("sd/"): torch.from_numpy(value) for key, value in z.items() if key.startswith("sd/")}
    model = load_released(state, num_heads=config["num_heads"], image_size=config["img_size"])
    caught: list[torch.Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: caught.append(output))
    with torch.no_grad():
        model((torch.from_numpy(z["in/image_uint8"]) / 255 - 0.5) / 0.5)
    recorded = torch.from_numpy(z["in/tokens"])
    assert (torch.stack(caught, 1) - recorded).abs().max() <= 2e-5 * recorded.abs().max()


def runs() -> list[str]:
    if not (PACK / "ntfiqa.npz").is_file():
        return []
    return [key.split("/")[1] for key in load("ntfiqa.npz") if key.startswith("out/") and key.endswith("/score")]


@pytest.mark.parametrize("run", runs())
def test_scores_are_the_released_ones(run: str) -> None:
    z = load("ntfiqa.npz")
    # blocks_0_1_2_attention_last ran the blocks 0, 1 and 2, whose tokens lie under their names.
    chosen = re.match(r"blocks(_\d+)+", run)
    inside = f"in/{chosen[0]}/" if chosen else "in/"
    tokens, received = z[f"{inside}tokens"], z[f"{inside}attention_received_per_block"]
    if tokens.shape[1] < 2:
        pytest.skip("one block has no distance")
    distances = token_distances(
        torch.from_numpy(tokens), torch.from_numpy(z["in/norm_weight"]), torch.from_numpy(z["in/norm_bias"])
    )
    scaling = float(run.split("scaling_")[1].split("_")[0]) if "scaling_" in run else 8.0
    attention = None
    if "attention_last" in run:
        attention = torch.from_numpy(received[:, -1])
    elif "attention_mean" in run:
        attention = torch.from_numpy(received.mean(1))
    found = token_quality(distances, attention=attention, scaling=scaling)
    np.testing.assert_allclose(found.numpy(), z[f"out/{run}/score"], atol=1e-5)


def edc_runs() -> list[str]:
    return (
        sorted({key.split("/out/")[0] for key in load("edc.npz") if "/out/" in key})
        if (PACK / "edc.npz").is_file()
        else []
    )


@pytest.mark.parametrize("run", edc_runs())
def test_curves_and_areas_are_the_released_ones(run: str) -> None:
    z = load("edc.npz")
    case, setting = run.split("/")
    qualities, similarity = z[f"{case}/in/quality"], z[f"{case}/in/similarity"]
    quality = qualities.prod(-1) if "product" in case else pair_quality(qualities)
    word, value = setting.rsplit("_", 1)
    nonmated = case.startswith("nonmated")
    threshold = (
        float(value)
        if word == "threshold"
        else threshold_at_error(similarity, 1 - float(value) if nonmated and word != "quantile" else float(value))
    )
    errors = similarity >= threshold if nonmated else similarity < threshold
    curve = error_discard_curve(errors, quality)
    discarded, left = z[f"{run}/out/discard_count"], z[f"{run}/out/errors_left_after_discarding_k"]
    np.testing.assert_array_equal(np.rint(curve.discarded[:-1] * len(errors)), discarded)
    np.testing.assert_array_equal(np.rint(curve.error[:-1] * (len(errors) - discarded)), left[discarded])
    np.testing.assert_array_equal(curve.discarded, z[f"{run}/out/discard_fraction"])
    np.testing.assert_array_equal(curve.error, z[f"{run}/out/error_fraction"])
    for limit, area, best in zip(
        z[f"{run}/out/limit"], z[f"{run}/out/pauc"], z[f"{run}/out/area_under_theoretical_best"], strict=True
    ):
        assert partial_area(curve, float(limit)) == pytest.approx(float(area), abs=1e-9)
        assert best_area(float(curve.error[0]), float(limit)) == pytest.approx(float(best), abs=1e-9)


def companion_runs() -> list[str]:
    keys = load("erc_companion.npz") if (PACK / "erc_companion.npz").is_file() else {}
    return sorted(key for key in keys if "/out/fnmr_at_fmr_" in key)


@pytest.mark.parametrize("key", companion_runs())
def test_curves_of_a_threshold_found_anew_are_the_released_ones(key: str) -> None:
    z = load("erc_companion.npz")
    case, setting, _, name = key.split("/")
    given = f"{case}/{setting.removesuffix('_lowest_is_best')}"
    is_same, quality, shares = z[f"{case}/in/is_same"], z[f"{case}/in/pair_quality"], z[f"{given}/out/discard_ratio"]
    np.testing.assert_array_equal(pair_quality(z[f"{case}/in/image_quality"]), quality)
    cosine = (z[f"{case}/in/embedding_a"].astype(np.float64) * z[f"{case}/in/embedding_b"]).sum(-1)
    sides = [np.linalg.norm(z[f"{case}/in/embedding_{side}"].astype(np.float64), axis=-1) for side in "ab"]
    cosine = cosine / (sides[0] * sides[1])
    distance = 2 - 2 * cosine if "euclidean" in setting else np.arccos(cosine) / np.pi
    np.testing.assert_allclose(distance, z[f"{given}/out/distance"], atol=1e-6)
    best_first = -quality if setting.endswith("_lowest_is_best") else quality
    rate = float(name.removeprefix("fnmr_at_fmr_"))
    curve = refitted_discard_curve(-z[f"{given}/out/distance"], is_same, best_first, rate=rate, shares=shares)
    np.testing.assert_allclose(curve.error, z[key], atol=1e-12)
    np.testing.assert_array_equal(len(quality) - (shares * len(quality)).astype(np.int64), z[f"{given}/out/kept_pairs"])
    if (area := z.get(f"{given}/out/auc_at_{name.removeprefix('fnmr_at_')}")) is not None and given.endswith(setting):
        assert np.trapezoid(curve.error, curve.discarded) == pytest.approx(float(area), abs=1e-9)
