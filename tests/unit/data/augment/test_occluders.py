"""Occluders: exact halves, nothing outside alpha, seeded by the sample, points of both kinds, fallbacks counted."""

import math

import pytest
import torch

from transface.data.augment.headset import Headset
from transface.data.augment.occluders import (
    HalfBlackOut,
    Mixture,
    Occluder,
    OccluderAugmentation,
    black_out,
    hidden_share,
    numbers_of_samples,
    points_in_pixels,
    random_numbers,
    template_shares,
)
from transface.data.augment.surgical_mask import SurgicalMask, outline_radii, smooth_outline

OCCLUDERS = [
    HalfBlackOut("upper"),
    HalfBlackOut("lower", fill="mean"),
    HalfBlackOut("lower", fill="noise", split=(0.4, 0.6)),
    HalfBlackOut("upper", fill="blur", align="landmark"),
    SurgicalMask(),
    SurgicalMask(wear="under_nose"),
    Headset(),
    Mixture({"half": HalfBlackOut("lower"), "mask": SurgicalMask()}, {"half": 0.3, "mask": 0.7}),
]


def faces(count: int = 6, size: int = 112) -> torch.Tensor:
    return torch.randint(1, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def aligned(count: int = 6, size: int = 112) -> torch.Tensor:
    return points_in_pixels(template_shares(), (size, size)).expand(count, -1, -1)


@pytest.mark.parametrize("half", ["upper", "lower"])
def test_half_hides_exactly_half_of_the_pixels_of_an_even_height(half: str) -> None:
    images = faces()
    hidden = black_out(images, half)  # type: ignore[arg-type]
    assert int((hidden != images).any(1).sum()) == len(images) * 56 * 112
    assert hidden[(hidden != images)].eq(0).all()


def test_upper_and_lower_are_complements_and_the_lower_half_of_an_odd_height_is_a_row_larger() -> None:
    images = faces(2, 7)
    upper, lower = black_out(images, "upper"), black_out(images, "lower")
    assert torch.equal(upper.int() + lower.int(), images.int())
    assert int((upper == 0).all(-1)[0, 0].sum()) == 3
    assert int((lower == 0).all(-1)[0, 0].sum()) == 4
    with pytest.raises(ValueError, match="'upper' or 'lower'"):
        black_out(images, "left")  # type: ignore[arg-type]


@pytest.mark.parametrize("occluder", OCCLUDERS, ids=lambda occluder: occluder.name)
def test_an_occluder_leaves_its_input_and_every_pixel_outside_alpha_as_they_were(occluder: Occluder) -> None:
    images = faces()
    before = images.clone()
    found = occluder(images, random_numbers(occluder, 6, torch.Generator().manual_seed(0)), aligned())
    assert torch.equal(images, before)
    assert found.images.data_ptr() != images.data_ptr()
    assert found.images.dtype == torch.uint8
    assert not ((found.images != images).any(1, keepdim=True) & (found.alpha == 0)).any()
    assert bool(((found.alpha >= 0) & (found.alpha <= 1)).all())
    assert (hidden_share(found.alpha) > 0.08).all()
    assert not found.fell_back.any()


@pytest.mark.parametrize("occluder", OCCLUDERS, ids=lambda occluder: occluder.name)
def test_a_test_image_is_hidden_alike_in_any_batch(occluder: Occluder) -> None:
    images, names = faces(), [f"face{k}.jpg" for k in range(6)]
    together = occluder(images, numbers_of_samples(occluder, names), aligned())
    alone = occluder(images[4:5], numbers_of_samples(occluder, names[4:5]), aligned(1))
    assert (together.images[4].int() - alone.images[0].int()).abs().max() <= 1
    other = numbers_of_samples(occluder, names, seed=1)
    assert not torch.equal(numbers_of_samples(occluder, names), other)


def test_a_mask_covers_mouth_and_a_headset_the_eyes_whatever_the_roll() -> None:
    for degrees in (-40, 0, 25):
        angle = math.radians(degrees)
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        points = (aligned(1) - 56) @ turn.T + 56
        for occluder, covered, free in ((SurgicalMask(), (3, 4), (0, 1)), (Headset(), (0, 1), (3, 4))):
            alpha = occluder(faces(1), random_numbers(occluder, 1, torch.Generator().manual_seed(1)), points).alpha[
                0, 0
            ]
            at = [alpha[int(y.round().clamp(0, 111)), int(x.round().clamp(0, 111))] for x, y in points[0]]
            assert min(at[k] for k in covered) > 0.9
            assert max(at[k] for k in free) < 0.5


def test_a_mask_worn_lower_hides_less() -> None:
    numbers = random_numbers(SurgicalMask(), 8, torch.Generator().manual_seed(0))
    shares = [
        float(hidden_share(SurgicalMask(wear=wear)(faces(8), numbers, aligned(8)).alpha).mean())
        for wear in ("full", "under_nose", "chin")
    ]
    assert shares[0] > shares[1] > shares[2] > 0


def test_sixty_eight_points_are_taken_and_the_jaw_bounds_the_mask() -> None:
    points = torch.zeros(1, 68, 2)
    angle = torch.linspace(0, math.pi, 17)
    points[0, :17] = torch.stack([56 - 45 * angle.cos(), 52 + 50 * angle.sin()], 1)
    points[0, 36:42], points[0, 42:48] = torch.tensor([38.0, 52.0]), torch.tensor([74.0, 52.0])
    points[0, 27:36] = torch.tensor([56.0, 72.0])
    points[0, 48:68] = torch.tensor([56.0, 88.0])
    points[0, 48], points[0, 54] = torch.tensor([44.0, 88.0]), torch.tensor([68.0, 88.0])
    found = SurgicalMask()(faces(1), random_numbers(SurgicalMask(), 1, torch.Generator().manual_seed(0)), points)
    assert not found.fell_back.any()
    assert found.alpha[0, 0, 95, 56] > 0.9
    assert found.alpha[0, 0, 109, 20] < 0.5


@pytest.mark.parametrize("occluder", [SurgicalMask(), Headset()], ids=lambda occluder: occluder.name)
def test_faces_without_points_get_half_and_are_counted(occluder: Occluder) -> None:
    images, points = faces(), aligned().clone()
    points[2] = float("nan")
    points[4] = points[4, 0]  # all in one place
    found = occluder(images, random_numbers(occluder, 6, torch.Generator().manual_seed(0)), points)
    assert found.fell_back.tolist() == [False, False, True, False, True, False]
    half = "lower" if isinstance(occluder, SurgicalMask) else "upper"
    assert torch.equal(found.images[2], black_out(images[2], half))  # type: ignore[arg-type]
    assert occluder(images, random_numbers(occluder, 6), None).fell_back.all()


def test_a_mixture_hides_as_often_by_each_as_its_shares_say() -> None:
    mixture = Mixture({"half": HalfBlackOut("lower"), "other": HalfBlackOut("upper")}, {"half": 3, "other": 1})
    found = mixture(faces(400, 8), random_numbers(mixture, 400, torch.Generator().manual_seed(0)))
    assert 0.68 < float((found.alpha[:, 0, -1, 0] == 1).float().mean()) < 0.82
    with pytest.raises(ValueError, match="not all 0"):
        Mixture({"half": HalfBlackOut("lower")}, {"half": 0})


def test_the_smooth_outline_runs_through_its_corners_and_its_radii_lie_on_it() -> None:
    square = torch.tensor([[[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]])
    curve = smooth_outline(square)
    assert torch.allclose(curve[0, ::5], square[0])
    radii = outline_radii(square, torch.zeros(1, 2))
    assert 0.99 < float(radii.min()) < float(radii.max()) < 1.5


def test_as_augmentation_it_changes_the_share_of_faces_it_is_told_and_keeps_the_range() -> None:
    images = faces(64).float() / 127.5 - 1
    change = OccluderAugmentation(SurgicalMask(), probability=0.5)
    found = change(images, torch.Generator().manual_seed(0))
    changed = (found != images).flatten(1).any(1)
    assert 20 < int(changed.sum()) < 44
    assert float(found.abs().max()) <= 1
    assert torch.equal(found, change(images, torch.Generator().manual_seed(0)))
    assert torch.equal(OccluderAugmentation(SurgicalMask(), probability=0.0)(images, torch.Generator()), images)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="split"):
        HalfBlackOut("upper", split=(0.6, 0.4))
    with pytest.raises(ValueError, match="fill"):
        HalfBlackOut("upper", fill="red")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wear"):
        SurgicalMask(wear="hat")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="5 or 68"):
        SurgicalMask()(faces(1), random_numbers(SurgicalMask(), 1), torch.zeros(1, 4, 2))
