"""Paired views: one geometry, the occluded view is the occluder of the whole one, pixel by pixel."""

import torch

from transface.data.augment.headset import Headset
from transface.data.augment.occluders import HalfBlackOut, points_in_pixels, random_numbers, template_shares
from transface.data.augment.surgical_mask import SurgicalMask
from transface.systems.occlusion.paired_views import (
    MIRRORED_68,
    Geometry,
    draw_geometry,
    mirror_points,
    moved,
    paired_views,
)


def faces(count: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_occluded_view_is_the_occluder_of_the_clean_one_in_a_hundred_draws() -> None:
    generator = torch.Generator().manual_seed(1)
    images, points = faces(4), points_in_pixels(template_shares(), (112, 112)).expand(4, -1, -1)
    for occluder in (HalfBlackOut("lower"), SurgicalMask(), Headset()):
        for _ in range(9):
            geometry = draw_geometry(4, generator, gain=(1.0, 1.0))
            numbers = random_numbers(occluder, 4, generator)
            views = paired_views(images, points, geometry, occluder, numbers)
            there = moved(images, points, geometry)
            assert torch.equal(views.clean, there[0])
            assert torch.equal(views.occluded, occluder(there[0], numbers, there[1]).images)
            free = (views.alpha == 0).expand_as(views.clean)
            assert torch.equal(views.occluded[free], views.clean[free])


def test_black_stays_black_under_any_light() -> None:
    views = paired_views(
        faces(), None, draw_geometry(8, torch.Generator().manual_seed(0)), HalfBlackOut("upper"), torch.zeros(8, 2)
    )
    assert not views.occluded[:, :, :56].any()


def test_points_move_with_the_pixels_they_lie_on() -> None:
    image = torch.zeros(1, 3, 61, 61, dtype=torch.uint8)
    points = torch.tensor([[[20.0, 20.0], [40.0, 18.0], [30.0, 30.0], [22.0, 42.0], [38.0, 42.0]]])
    image[0, :, 19:22, 19:22] = 255
    still = torch.tensor([False])
    geometry = Geometry(still, torch.tensor([0.3]), torch.tensor([1.1]), torch.ones(1))
    turned, there = moved(image, points, geometry)
    weight = turned[0, 0].double()
    rows, columns = torch.meshgrid(torch.arange(61.0), torch.arange(61.0), indexing="ij")
    centre = torch.stack([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    assert there is not None
    assert (centre - there[0, 0]).abs().max() < 0.2


def test_a_mirrored_face_has_its_left_eye_on_the_left() -> None:
    points = points_in_pixels(template_shares(), (112, 112))[None]
    flipped = mirror_points(points, torch.tensor([True]), 112)
    assert flipped[0, 0, 0] < flipped[0, 1, 0]
    assert torch.allclose(mirror_points(flipped, torch.tensor([True]), 112), points)
    assert [MIRRORED_68[place] for place in MIRRORED_68] == list(range(68))
    assert (MIRRORED_68[36], MIRRORED_68[48], MIRRORED_68[0], MIRRORED_68[30]) == (45, 54, 16, 30)


def test_no_geometry_leaves_every_pixel() -> None:
    still = draw_geometry(8, flip_probability=0, max_degrees=0, scale=(1, 1), gain=(1, 1))
    assert torch.equal(paired_views(faces(), None, still, None, None).clean, faces())
