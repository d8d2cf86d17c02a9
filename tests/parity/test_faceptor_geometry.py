"""Crops, similarities, the tanh warp and boxes against recorded values."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.faceptor_packs import Pack

from transface.data.crops import geometry as g
from transface.data.crops.landmark_sets import LANDMARK_SETS, of_aflw_row, of_cofw_row, of_list_row
from transface.systems.generalist.looks import clip_pixels


@pytest.fixture(scope="module")
def pack(shared: Path) -> Pack:
    return Pack(shared, "geometry")


def close(ours: np.ndarray, recorded: np.ndarray, limit: float = 1e-3) -> None:
    np.testing.assert_allclose(ours, recorded, rtol=2e-6, atol=limit)


def scales_of(pack: Pack) -> list[tuple[str, float]]:
    """Return the words for the scale about the centre, such as mu08, and the scales."""
    tags = sorted({key.split("/")[0] for key in pack.below("crop/out/mu")})
    assert tags
    return [(f"mu{tag}", int(tag) / 10) for tag in tags]


def assert_sampled(ours: np.ndarray, recorded: np.ndarray, *, largest: float = 2e-2) -> None:
    """Fail unless remapped values agree but for the few whose position lies on a tie of the rounding to 1/32 px, which
    move by at most `largest` times the range.
    """
    assert ours.shape == recorded.shape
    difference = np.abs(ours - recorded) / max(1, np.abs(recorded).max())
    assert (difference > 1e-5).mean() < 5e-3
    assert difference.max() < largest


def test_crop_matrices_points_and_image_equal_the_recorded_ones(pack: Pack) -> None:
    arrays = pack.arrays
    points = arrays["crop/in/points_xy"]
    boxes = arrays["crop/in/box_y1x1y2x2"]
    for index, box in enumerate(boxes):
        close(g.crop_matrix(box), arrays["crop/out/matrix_before_scale"][index])
        for tag, scale in scales_of(pack):
            matrix = g.about_centre(g.crop_matrix(box), scale=scale)
            close(matrix, arrays[f"crop/out/{tag}/matrix"][index])
            close(g.apply_matrix(matrix, points), arrays[f"crop/out/{tag}/points_forward"][index])
            forward = arrays[f"crop/out/{tag}/points_forward"][index]
            close(g.apply_matrix(np.linalg.inv(matrix), forward), arrays[f"crop/out/{tag}/points_back"][index])
            close(g.apply_matrix(np.linalg.inv(matrix), g.apply_matrix(matrix, points)), points)
    image = arrays["in/image_uint8"].astype(np.float32) / 255
    for tag, _ in scales_of(pack):
        positions = g.sampling_map(arrays[f"crop/out/{tag}/matrix"][0], (512, 512))
        ours = g.sample_bilinear(image, positions)[3::8, 5::8]
        assert_sampled(ours, arrays[f"crop/out/{tag}/image_512_every_8th"])
        normalised = clip_pixels(torch.from_numpy(g.sample_bilinear(image, positions)).movedim(-1, 0) * 2 - 1)
        assert_sampled(
            normalised[:, 3::32, 5::32].numpy(), arrays[f"crop/out/{tag}/image_512_normalised_every_32th"], largest=0.1
        )


def test_random_similarities_equal_the_recorded_ones(pack: Pack) -> None:
    arrays = pack.arrays
    for kind in sorted({key.split("/")[0] for key in pack.below("random/")}):
        start = f"random/{kind}/"
        drawn = zip(
            arrays[start + "in/shift_px"], arrays[start + "in/angle_rad"], arrays[start + "in/scale"], strict=True
        )
        for index, (shift, angle, scale) in enumerate(drawn):
            ours = g.about_centre(arrays[start + "in/matrix"], shift=shift, radians=angle, scale=scale)
            close(ours, arrays[start + "out/matrix"][index])


def test_similarities_of_five_points_equal_the_recorded_ones(pack: Pack) -> None:
    target = pack.arrays["five_point/out/target_xy"]
    close(g.lapa_target(), target)
    for points, recorded in zip(
        pack.arrays["five_point/in/points_xy"], pack.arrays["five_point/out/matrix"], strict=True
    ):
        close(g.similarity(points, target), recorded)


def test_the_warp_and_its_inverse_equal_the_recorded_ones(pack: Pack) -> None:
    factors = sorted({float(key.split("/")[0]) for key in pack.below("warp/out/factor_")})
    assert factors
    for factor in factors:
        assert_warp_is_the_recorded_one(pack, factor)


def assert_warp_is_the_recorded_one(pack: Pack, factor: float) -> None:
    arrays, size, start = pack.arrays, tuple(pack.cfg["warp_shape_hw"]), f"warp/out/factor_{factor}/"
    matrix = arrays["warp/in/matrix"]
    forward = g.warp_points(arrays["warp/in/points_xy"], matrix, size, factor)
    close(forward, arrays[start + "points_forward"])
    close(
        g.unwarp_points(arrays["warp/in/warped_points_xy"], matrix, size, factor), arrays[start + "warped_points_back"]
    )
    close(g.unwarp_points(forward, matrix, size, factor), arrays[start + "points_forward_then_back"], 2e-3)
    positions = g.sampling_map(matrix, size, factor)
    close(positions, arrays[start + "map_xy"])
    image = g.sample_bilinear(arrays["in/image_uint8"].astype(np.float32) / 255, positions)
    assert_sampled(image, arrays[start + "image"])
    np.testing.assert_array_equal(
        g.sample_nearest(arrays["in/label_uint8"], positions), arrays[start + "label_nearest"]
    )
    original = arrays["in/label_uint8"].shape
    logits = arrays["warp/in/logits_hwk"]
    back = g.sample_bilinear(logits, g.inverse_map(matrix, size, factor, original))
    assert_sampled(back[::2, ::2], arrays[start + "logits_original_size_every_2nd"], largest=0.1)
    same = g.regions_of_original(logits, matrix, factor, original) == arrays[start + "argmax_original_size"]
    assert same.mean() > 0.998


def test_the_path_of_lapa_equals_the_recorded_one(pack: Pack) -> None:
    arrays = pack.arrays
    points = arrays["lapa/in/landmarks_106_xy"][list(g.LAPA_POINTS)]
    matrix = g.similarity(points, g.lapa_target())
    close(matrix, arrays["lapa/out/align_matrix"])
    positions = g.sampling_map(matrix, (512, 512), 0.8)
    close(positions[5::16, 3::16], arrays["lapa/out/transform_map_512_every_16th"])
    image = g.sample_bilinear(arrays["in/image_uint8"].astype(np.float32) / 255, positions)[3::8, 5::8]
    assert_sampled(image, arrays["lapa/out/image_512_every_8th"])
    original = arrays["in/image_uint8"].shape[:2]
    close(g.inverse_map(matrix, (512, 512), 0.8, original)[1::4, 2::4], arrays["lapa/out/inverse_map_every_4th"])
    grid = g.pixel_grid((512, 512))
    angle = 2 * np.pi * (grid @ arrays["lapa/in/logits_frequency_xy"].T) / 512 + arrays["lapa/in/logits_phase"]
    logits = np.cos(angle).astype(np.float32)
    back = g.sample_bilinear(logits, g.inverse_map(matrix, (512, 512), 0.8, original))[1::4, 2::4]
    assert_sampled(back, arrays["lapa/out/logits_original_size_every_4th"], largest=0.1)
    regions = g.regions_of_original(logits, matrix, 0.8, original)
    assert (regions == arrays["lapa/out/prediction_original_size"]).mean() > 0.998


def test_boxes_and_landmarks_of_all_four_lists_equal_the_recorded_ones(pack: Pack) -> None:
    arrays = pack.arrays
    for name in sorted({key.split("/")[0] for key in pack.below("boxes/")}):
        start = f"boxes/{name}/"
        if name == "aflw":
            rows = zip(arrays[start + "in/bbox_l_r_t_b"], arrays[start + "in/data_19x_19y"], strict=True)
            ours = [of_aflw_row(box, row) for box, row in rows]
        elif name == "cofw":
            ours = [of_cofw_row(row) for row in arrays[start + "in/phis"]]
        else:
            rows = arrays[start + "in/csv_scale_centerw_centerh_then_xy"]
            ours = [of_list_row(row, LANDMARK_SETS[name].offset) for row in rows]
        for (box, points), recorded, landmarks in zip(
            ours, arrays[start + "out/box_y1x1y2x2"], arrays[start + "out/landmarks_xy"], strict=True
        ):
            close(box, recorded, 1e-4)
            close(points, landmarks, 1e-4)


def test_points_are_normalised_as_recorded(pack: Pack) -> None:
    normalised = (pack.arrays["normalise/in/points_px_512"] + 0.5) / 512
    close(normalised, pack.arrays["normalise/out/points_normalised"], 1e-6)
    close(normalised * 128 - 0.5, pack.arrays["normalise/out/points_heatmap_px_128"], 1e-4)


def test_warped_points_return_where_the_inverse_is_not_clipped() -> None:
    matrix = g.about_centre(g.crop_matrix(np.array([40, 30, 90, 100])), radians=0.2)
    points = np.random.default_rng(0).uniform(20, 110, (200, 2))
    for factor in (0.0, 0.5, 0.8, 1.0):
        scaled = 2 * g.apply_matrix(matrix, points) / 512 - 1
        reach = (np.abs(scaled) - (1 - factor)) / max(factor, 1e-9)
        inside = (np.tanh(np.maximum(reach, 0)) < 0.999).all(1) | (factor == 0)
        back = g.unwarp_points(g.warp_points(points, matrix, (512, 512), factor), matrix, (512, 512), factor)
        assert inside.sum() > 20
        np.testing.assert_allclose(back[inside], points[inside], atol=1e-6)
