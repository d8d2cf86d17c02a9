"""Pooling and pair scores equal a naive loop over templates and media, in all eight modes, and so do the scores read
off blocks.
"""

import numpy as np
import pytest
import torch

from transface.evaluation.recognition import template_pooling as ijbc
from transface.evaluation.recognition.template_pooling import ALL_MODES, parse_mode, pool_templates, score_pairs


def naive_templates(
    faces: np.ndarray,
    flipped: np.ndarray,
    detector: np.ndarray,
    templates: np.ndarray,
    media: np.ndarray,
    mode: ijbc.IjbMode,
) -> np.ndarray:
    features = []
    for template in sorted(set(templates.tolist())):
        total = np.zeros(faces.shape[1])
        for medium in set(media[templates == template].tolist()):
            members = []
            for index in np.flatnonzero((templates == template) & (media == medium)):
                face = faces[index].astype(float) + (flipped[index] if mode.flip_sum else 0)
                face = face if mode.keep_norm else face / np.linalg.norm(face)
                members.append(face * (detector[index] if mode.detector_weight else 1))
            total += np.mean(members, axis=0)
        features.append(total / np.linalg.norm(total))
    return np.array(features)


def some_faces(seed: int = 0, num_images: int = 200) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "faces": random.normal(size=(num_images, 6)).astype(np.float32)
        * random.lognormal(size=(num_images, 1)).astype(np.float32),
        "flipped": random.normal(size=(num_images, 6)).astype(np.float32),
        "detector": random.random(num_images).astype(np.float32),
        "templates": random.integers(3, 40, num_images) * 7,
        "media": random.integers(0, 9, num_images) * 1000,
    }


@pytest.mark.parametrize("mode", ALL_MODES, ids=str)
def test_each_mode_pools_as_the_naive_loop(mode: ijbc.IjbMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ijbc, "IMAGE_BLOCK", 33)  # templates lie across blocks
    some = some_faces()
    pooled = pool_templates(
        some["faces"],
        some["templates"],
        some["media"],
        flipped=some["flipped"],
        detector_scores=some["detector"],
        mode=str(mode),
    )
    expected = naive_templates(some["faces"], some["flipped"], some["detector"], some["templates"], some["media"], mode)
    np.testing.assert_allclose(pooled.features, expected, atol=1e-12)
    np.testing.assert_array_equal(pooled.ids, np.unique(some["templates"]))


def test_without_a_mode_what_is_given_is_used() -> None:
    some = some_faces()
    plain = pool_templates(some["faces"], some["templates"], some["media"])
    np.testing.assert_allclose(
        plain.features, pool_templates(some["faces"], some["templates"], some["media"], mode="N1D0F0").features
    )
    summed = torch.from_numpy(some["faces"] + some["flipped"])
    both = pool_templates(summed, some["templates"], some["media"], detector_scores=some["detector"])
    full = pool_templates(
        some["faces"], some["templates"], some["media"], flipped=some["flipped"], detector_scores=some["detector"]
    )
    np.testing.assert_allclose(both.features, full.features, atol=1e-6)


def test_a_template_without_any_weight_scores_zero() -> None:
    pooled = pool_templates(np.ones((2, 3)), [1, 2], [0, 0], detector_scores=[0.0, 1.0])
    assert score_pairs(pooled, [1], [2])[0] == 0


@pytest.mark.parametrize("structure", ["gallery and probes", "any with any", "one template"])
def test_scores_read_off_blocks_equal_those_one_by_one(structure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(300, 16))
    pooled = ijbc.PooledTemplates(features / np.linalg.norm(features, axis=1, keepdims=True), np.arange(300) * 3 + 5)
    low, high = {"gallery and probes": (60, 60), "any with any": (300, 0), "one template": (1, 0)}[structure]
    pairs = pooled.ids[np.stack([random.integers(0, low, 5000), random.integers(high, 300, 5000)], axis=1)]
    expected = score_pairs(pooled, pairs)
    by_hand = [features_of(pooled, a) @ features_of(pooled, b) for a, b in pairs[:50]]
    np.testing.assert_allclose(expected[:50], by_hand, atol=1e-12)
    monkeypatch.setattr(ijbc, "DIRECT_PAIRS", 0)
    monkeypatch.setattr(ijbc, "TEMPLATE_BLOCK_BITS", 4)
    np.testing.assert_allclose(score_pairs(pooled, pairs[:, 0], pairs[:, 1]), expected, atol=5e-7)


def features_of(pooled: ijbc.PooledTemplates, template: int) -> np.ndarray:
    return pooled.features[pooled.ids.tolist().index(template)]


def test_very_large_ids_are_found_too() -> None:
    pooled = pool_templates(np.eye(3), [10**12, 5, 7], [0, 0, 0])
    np.testing.assert_array_equal(score_pairs(pooled, [10**12, 5], [10**12, 7]), [1, 0])
    with pytest.raises(ValueError, match="1 pairs name a template without images, the first is template 6"):
        score_pairs(pooled, [[10**12, 5], [6, 7]])


def test_lists_tensors_and_whole_numbers_of_any_type_are_taken() -> None:
    some = some_faces(num_images=40)
    faces = torch.from_numpy(some["faces"].astype(np.float64)) * (1 + 1e-12)
    exact = pool_templates(faces.numpy(), some["templates"], some["media"])
    for ids in (some["templates"].tolist(), some["templates"].astype(np.float32), torch.from_numpy(some["templates"])):
        found = pool_templates(faces, ids, some["media"].astype(str))
        np.testing.assert_array_equal(found.features, exact.features, err_msg="float64 tensors keep their precision")
        np.testing.assert_array_equal(found.ids, exact.ids)
    pairs = exact.ids[[[0, 1], [2, 2]]]
    for kind in (pairs.tolist(), pairs.astype(np.uint16), pairs.astype(float), torch.from_numpy(pairs)):
        np.testing.assert_allclose(score_pairs(exact, kind), [exact.features[0] @ exact.features[1], 1])
    assert score_pairs(exact, [], []).shape == score_pairs(exact, np.empty((0, 2))).shape == (0,)


def test_a_single_image_is_a_template() -> None:
    found = pool_templates([[3.0, 4.0]], [7], [1], flipped=[[0.0, 0.0]], detector_scores=[0.1], mode="N0D1F1")
    np.testing.assert_allclose(found.features, [[0.6, 0.8]])
    np.testing.assert_allclose(score_pairs(found, [7], [7]), [1])


def test_bad_input_is_refused() -> None:
    some = some_faces()
    faces, templates, media = some["faces"], some["templates"], some["media"]
    with pytest.raises(ValueError, match="mode must be one of"):
        parse_mode("N2D1F1")
    with pytest.raises(ValueError, match="give detector_scores"):
        pool_templates(faces, templates, media, mode="N1D1F0")
    with pytest.raises(ValueError, match="one value for each of the 200 images"):
        pool_templates(faces, templates[:-1], media)
    with pytest.raises(ValueError, match="flipped embeddings must be"):
        pool_templates(faces, templates, media, flipped=faces[:-1])
    for ids in (np.full(200, 1.5), np.full(200, np.nan), ["a"] * 200):
        with pytest.raises(ValueError, match="template_ids must be whole numbers"):
            pool_templates(faces, ids, media)
    with pytest.raises(ValueError, match="template_ids must be whole numbers that fit in 64 bits, got 1e"):
        pool_templates(faces, np.full(200, 1e19), media)
    with pytest.raises(ValueError, match="a row for each image"):
        pool_templates(faces[0], templates, media)
    with pytest.raises(ValueError, match="detector scores are NaN"):
        pool_templates(faces, templates, media, detector_scores=np.full(200, np.nan))
    broken = faces.copy()
    broken[7] = np.nan
    with pytest.raises(ValueError, match=f"1 templates hold NaN or infinity, the first is {templates[7]}"):
        pool_templates(broken, templates, media)
    pooled = pool_templates(faces, templates, media)
    with pytest.raises(ValueError, match="the first is template 4"):
        score_pairs(pooled, [int(templates[0]), -1, 4][::2], [int(templates[0])] * 2)
    with pytest.raises(ValueError, match="the first is template -1"):
        score_pairs(pooled, [-1], [int(templates[0])])
    with pytest.raises(ValueError, match="one length"):
        score_pairs(pooled, [1, 2], [1])
    with pytest.raises(ValueError, match=r"\(P, 2\)"):
        score_pairs(pooled, [1, 2])


def test_ids_may_be_objects_that_are_whole_numbers_and_weights_may_be_bfloat16() -> None:
    some = some_faces()
    plain = pool_templates(some["faces"], some["templates"], some["media"])
    odd = pool_templates(some["faces"], some["templates"].astype(object), some["media"].astype(object))
    np.testing.assert_array_equal(odd.features, plain.features)
    pairs = np.stack([plain.ids, plain.ids[::-1]], axis=1)
    np.testing.assert_array_equal(score_pairs(odd, pairs.astype(object)), score_pairs(plain, pairs))
    weights = torch.from_numpy(some["detector"]).bfloat16()
    weighted = pool_templates(some["faces"], some["templates"], some["media"], detector_scores=weights)
    np.testing.assert_array_equal(
        weighted.features,
        pool_templates(some["faces"], some["templates"], some["media"], detector_scores=weights.double()).features,
    )
    with pytest.raises(ValueError, match="whole numbers"):
        pool_templates(some["faces"], (some["templates"] + 0.5).astype(object), some["media"])
