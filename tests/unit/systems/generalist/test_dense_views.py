"""Views of canvases: points and pixels move alike, regions go with them, and warps are those of the data's geometry."""

import numpy as np
import pytest
import torch

from transface.data.batches import FaceBatch
from transface.data.crops import geometry
from transface.data.labels.points import CanvasTargets
from transface.systems.generalist.dense_views import (
    DenseView,
    DenseViews,
    Light,
    Movement,
    apply_light,
    apply_movement,
    draw_light,
    draw_movement,
)
from transface.systems.generalist.tasks import Task

SIDE, CANVAS = 48, 72


def dots(points: torch.Tensor) -> torch.Tensor:
    """Canvases (B, 3, C, C) with a soft bright dot at each one's point (B, 1, 2)."""
    line = torch.arange(CANVAS).double()
    x, y = points[:, 0, 0, None, None], points[:, 0, 1, None, None]
    blob = 255 * torch.exp(-((line[None, None] - x) ** 2 + (line[None, :, None] - y) ** 2) / 18)
    return blob[:, None].expand(-1, 3, -1, -1).round().to(torch.uint8)


def targets(points: torch.Tensor, warp: float = 0.0) -> CanvasTargets:
    count = len(points)
    none = torch.zeros(count, 0, 0, dtype=torch.uint8)
    return CanvasTargets(
        points, none, torch.full((count,), warp), torch.full((count,), SIDE), torch.full((count,), 0.8)
    )


def centre_of(view: torch.Tensor) -> torch.Tensor:
    bright = (view[:, 0] + 1).clamp_min(0)
    line = (torch.arange(SIDE, dtype=view.dtype) + 0.5) / SIDE
    total = bright.sum((1, 2))
    return torch.stack([(bright.sum(1) * line).sum(1) / total, (bright.sum(2) * line).sum(1) / total], -1)


@pytest.mark.parametrize("warp", [0.0, 0.8])
def test_a_bright_dot_and_its_point_move_to_the_same_place(warp: float) -> None:
    points = torch.tensor([[[30.0, 40.0]], [[42.0, 33.0]]])
    movement = Movement(torch.tensor([[0.05, -0.03], [0.0, 0.04]]), torch.tensor([0.3, -0.2]), torch.tensor([1.1, 0.8]))
    view = apply_movement(dots(points.double()), targets(points, warp), movement, dtype=torch.float64)
    assert (centre_of(view.images) - view.targets[:, 0]).abs().max() < 0.01


def test_no_movement_is_the_crop_in_the_middle_of_the_canvas() -> None:
    canvas = torch.randint(0, 256, (1, 3, CANVAS, CANVAS), dtype=torch.uint8)
    still = Movement(torch.zeros(1, 2), torch.zeros(1), torch.ones(1))
    view = apply_movement(canvas, targets(torch.zeros(1, 1, 2)), still, dtype=torch.float64)
    edge = (CANVAS - SIDE) // 2
    wanted = canvas[..., edge : edge + SIDE, edge : edge + SIDE].double() / 127.5 - 1
    assert (view.images - wanted).abs().max() < 1e-9


def test_the_warp_of_points_is_that_of_the_geometry_of_crops() -> None:
    points = torch.tensor([[[5.0, 60.0], [36.0, 36.0], [70.0, 3.0]]], dtype=torch.float64)
    still = Movement(torch.zeros(1, 2), torch.zeros(1), torch.ones(1))
    canvas = torch.zeros(1, 3, CANVAS, CANVAS, dtype=torch.uint8)
    found = apply_movement(canvas, targets(points, 0.8), still, dtype=torch.float64).targets[0] * SIDE - 0.5
    matrix = np.eye(3)
    matrix[:2, 2] = -(CANVAS - SIDE) / 2
    wanted = geometry.warp_points(points[0].numpy(), matrix, (SIDE, SIDE), 0.8)
    assert np.abs(found.numpy() - wanted).max() < 1e-6


def test_regions_move_with_the_pixels() -> None:
    regions = torch.zeros(1, CANVAS, CANVAS, dtype=torch.uint8)
    regions[:, 20:50, 25:45] = 3
    canvas = (regions[:, None] > 0).expand(-1, 3, -1, -1).to(torch.uint8) * 255
    own = CanvasTargets(torch.zeros(1, 0, 2), regions, torch.zeros(1), torch.tensor([SIDE]), torch.ones(1))
    movement = Movement(torch.tensor([[0.1, 0.0]]), torch.tensor([0.4]), torch.tensor([0.9]))
    view = apply_movement(canvas, own, movement)
    inside = view.targets[0] == 3
    assert set(view.targets.unique().tolist()) == {0, 3}
    assert (view.images[0, 0][inside] > 0).float().mean() > 0.97
    assert (view.images[0, 0][~inside] < 0).float().mean() > 0.97


def test_mirrored_views_of_points_show_the_mirrored_canvas_with_left_and_right_exchanged() -> None:
    canvas = torch.randint(0, 256, (2, 3, CANVAS, CANVAS), dtype=torch.uint8)
    points = 12 + 48 * torch.rand(2, 68, 2)
    task = Task("align", "landmarks", 68)

    def view(flip: float, images: torch.Tensor, own: torch.Tensor) -> DenseView:
        views = DenseViews(strength=0, light=False, flip_probability=flip)
        batch = FaceBatch(images, targets(own), torch.arange(2))
        return views(batch, task, torch.Generator().manual_seed(0), dtype=torch.float64)

    mirrored, plain = view(1.0, canvas, points), view(0.0, canvas, points)
    torch.testing.assert_close(mirrored.images, plain.images.flip(-1), rtol=0, atol=1e-9)
    # Outer corners of the eyes, 36 and 45, trade places; the chin, 8, stays the chin.
    for own, other in ((36, 45), (45, 36), (8, 8), (48, 54)):
        wanted = torch.stack([1 - plain.targets[:, other, 0], plain.targets[:, other, 1]], -1)
        torch.testing.assert_close(mirrored.targets[:, own], wanted, rtol=0, atol=1e-6)


def test_mirrored_views_of_regions_have_the_other_side() -> None:
    names = ("background", "l_eye", "r_eye", "l_lip")
    canvas = torch.zeros(1, 3, CANVAS, CANVAS, dtype=torch.uint8)
    regions = torch.zeros(1, CANVAS, CANVAS, dtype=torch.uint8)
    regions[:, 20:30, 15:25], regions[:, 50:55, 40:50] = 1, 3
    own = CanvasTargets(torch.zeros(1, 0, 2), regions, torch.zeros(1), torch.full((1,), SIDE), torch.ones(1))
    batch = FaceBatch(canvas, own, torch.arange(1))
    views = [DenseViews(strength=0, light=False, flip_probability=share) for share in (0.0, 1.0)]
    task = Task("parts", "parsing", 4, names=names)
    plain, mirrored = (one(batch, task, torch.Generator().manual_seed(0)).targets for one in views)
    assert torch.equal(mirrored == 2, (plain == 1).flip(-1))
    assert torch.equal(mirrored == 3, (plain == 3).flip(-1))
    assert int((mirrored == 1).sum()) == 0


def test_views_that_cannot_be_mirrored_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"which of 37 points trade places .*dense\.flip_probability=0"):
        DenseViews(flip_probability=0.5).check(Task("mine", "landmarks", 37))
    with pytest.raises(ValueError, match="region 'left_ear' names a side"):
        DenseViews(flip_probability=0.5).check(Task("mine", "parsing", 2, names=("background", "left_ear")))
    DenseViews().check(Task("mine", "landmarks", 37))


def test_draws_follow_from_the_generator_alone() -> None:
    task, canvas = Task("points", "landmarks", 1), dots(torch.full((3, 1, 2), 36.0).double())
    batch = FaceBatch(canvas, targets(torch.full((3, 1, 2), 36.0)), torch.arange(3))
    first, again, other = (DenseViews()(batch, task, torch.Generator().manual_seed(seed)).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_movements_of_strength_nought_move_nothing() -> None:
    for kind in ("landmarks", "parsing"):
        still = draw_movement(5, torch.Generator().manual_seed(0), kind=kind, strength=0.0)
        assert float(still.shift.abs().max() + still.radians.abs().max() + (still.scale - 1).abs().max()) == 0


def test_the_scale_of_a_crop_moves_by_a_tenth_of_the_box_whatever_the_set() -> None:
    """Published: U(0.7, 0.9) of 300W, COFW and WFLW, U(0.9, 1.1) of AFLW."""
    scales = torch.tensor([0.8, 1.0]).repeat(2000)
    drawn = draw_movement(4000, torch.Generator().manual_seed(0), kind="landmarks", scale=scales)
    for scale in (0.8, 1.0):
        own = (drawn.scale * scales)[scales == scale]
        assert float(own.min()) == pytest.approx(scale - 0.1, abs=2e-3)
        assert float(own.max()) == pytest.approx(scale + 0.1, abs=2e-3)


def test_a_hidden_rectangle_is_black_and_the_rest_as_it_was() -> None:
    images = torch.rand(1, 3, 40, 40, dtype=torch.float64)
    light = Light(torch.tensor([[0.25, 0.5, 0.5, 0.75]]), *(torch.zeros(1),) * 2, torch.ones(1), torch.zeros(1).long())
    light = light._replace(grey=torch.zeros(1, dtype=torch.bool))
    changed = apply_light(images, light, torch.Generator())
    assert (changed[0, :, 20:30, 10:20] == -1).all()
    kept = torch.ones(40, 40, dtype=torch.bool)
    kept[20:30, 10:20] = False
    assert (changed - images)[0, :, kept].abs().max() < 1e-9


def test_rectangles_are_a_tenth_to_nearly_a_half_of_a_side() -> None:
    hidden = draw_light(4000, torch.Generator().manual_seed(0), side=100).hidden
    sides = hidden[:, 2:] - hidden[:, :2]
    assert 0 <= float(sides.min()) < 0.05
    assert 0.4 < float(sides.max()) <= 0.5


def test_batches_of_other_targets_are_refused() -> None:
    batch = FaceBatch(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1), torch.zeros(1))
    with pytest.raises(ValueError, match="task 'points' needs canvases with CanvasTargets, got Tensor"):
        DenseViews()(batch, Task("points", "landmarks", 1), torch.Generator())
