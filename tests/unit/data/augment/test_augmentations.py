"""Augmentations: each image changed as the naive way does it with the same draw, and only those drawn."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as v2f

from transface.data.augment.augmentations import (
    ColourJitter,
    GaussianBlur,
    InTurn,
    LowResolution,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    adjust_colours,
    crop_and_resize,
    gaussian_blur,
)

ALL = [RandomResizedCrop, LowResolution, ColourJitter, GaussianBlur, RandomErasing, RandAugment]


def faces(make_picture, count: int = 12) -> torch.Tensor:
    return torch.stack([make_picture(seed) for seed in range(count)]).float() / 127.5 - 1


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ALL)
def test_draws_come_from_the_generator_alone(make_picture, kind) -> None:
    images = faces(make_picture)
    before = images.clone()
    once = kind(probability=1.0)(images, seeded(3))
    torch.rand(7)
    assert torch.equal(kind(probability=1.0)(images, seeded(3)), once)
    assert not torch.equal(kind(probability=1.0)(images, seeded(4)), once)
    assert torch.equal(images, before)
    assert once.shape == images.shape
    assert once.dtype == images.dtype
    assert once.abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", ALL)
def test_none_is_drawn_at_probability_0_and_some_between(make_picture, kind) -> None:
    images = faces(make_picture, 24)
    assert torch.equal(kind(probability=0.0)(images, seeded(1)), images)
    changed = (kind(probability=0.5)(images, seeded(1)) != images).flatten(1).any(1)
    assert 2 < int(changed.sum()) < 22


@pytest.mark.parametrize("kind", [RandomResizedCrop, ColourJitter, GaussianBlur, RandomErasing])
def test_each_image_is_drawn_for_itself(make_picture, kind) -> None:
    images = faces(make_picture, 1).expand(6, -1, -1, -1)
    changed = kind(probability=1.0)(images, seeded(0))
    assert len({image.numpy().tobytes() for image in changed}) == 6


@pytest.mark.parametrize("kind", ALL)
def test_the_global_generator_is_left_alone(make_picture, kind) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    kind(probability=1.0)(faces(make_picture, 4), seeded(3))
    assert torch.equal(torch.rand(3), expected)


def test_a_crop_is_the_box_stretched(make_picture) -> None:
    images = faces(make_picture, 3)
    boxes = torch.tensor([[0, 0, 112, 112], [16, 32, 56, 28], [0, 0, 28, 112]])
    cropped = crop_and_resize(images, boxes)
    assert torch.allclose(cropped[0], images[0], atol=1e-5)
    for row, (left, top, width, height) in enumerate(boxes.tolist()):
        box = images[row : row + 1, :, top : top + height, left : left + width]
        stretched = F.interpolate(box, size=(112, 112), mode="bilinear", align_corners=False)[0]
        inner = slice(6, -6)  # at the rim, pixels outside the box are seen too
        assert (cropped[row] - stretched)[:, inner, inner].abs().max() < 1e-4


def test_boxes_have_the_area_and_ratio_asked_for() -> None:
    images = torch.zeros(500, 3, 100, 100)
    boxes = RandomResizedCrop(scale=(0.2, 0.5), ratio=(0.5, 1.5)).draw(images, seeded(0)).numpy()
    areas, ratios = boxes[:, 2] * boxes[:, 3] / 1e4, boxes[:, 2] / boxes[:, 3]
    assert areas.min() >= 0.2 - 1e-4
    assert 0.45 < areas.max() <= 0.5 + 1e-4
    assert ratios.min() >= 0.5 - 1e-3
    assert ratios.max() <= 1.5 + 1e-3
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 100 + 1e-3).all()


def test_low_resolution_is_resizing_there_and_back(make_picture) -> None:
    images = faces(make_picture, 4)
    small = v2f.resize(images, [20, 20], antialias=True)
    expected = v2f.resize(small, [112, 112], antialias=False).clamp(-1, 1)
    assert torch.allclose(LowResolution(sizes=[20], probability=1.0)(images, seeded(0)), expected, atol=1e-6)


def test_colours_change_as_torchvision_changes_them_one_by_one(make_picture) -> None:
    images = faces(make_picture, 4)
    b, c, s = (
        torch.tensor([0.5, 1.0, 1.3, 1.0]),
        torch.tensor([1.0, 0.4, 1.5, 1.0]),
        torch.tensor([1.4, 0.0, 0.7, 1.0]),
    )
    changed = adjust_colours(images, brightness=b, contrast=c, saturation=s)
    for row in range(4):
        one = (images[row] + 1) / 2
        one = v2f.adjust_brightness(one, float(b[row]))
        one = v2f.adjust_contrast(one, float(c[row]))
        one = v2f.adjust_saturation(one, float(s[row]))
        assert torch.allclose(changed[row], one * 2 - 1, atol=5e-3)
    assert torch.allclose(changed[3], images[3], atol=1e-6)


def test_blur_is_torchvisions_with_each_sigma(make_picture) -> None:
    images = faces(make_picture, 3)
    sigma = torch.tensor([0.3, 1.0, 2.5])
    blurred = gaussian_blur(images, sigma, kernel_size=9)
    for row in range(3):
        assert torch.allclose(blurred[row], v2f.gaussian_blur(images[row], [9, 9], [float(sigma[row])] * 2), atol=1e-5)


def test_erasing_paints_one_box_and_nothing_else(make_picture) -> None:
    images = faces(make_picture, 8)
    for fill in ("grey", "colour"):
        erased = RandomErasing(probability=1.0, scale=(0.1, 0.2), fill=fill)(images, seeded(2))
        for before, after in zip(images, erased, strict=True):
            rows, columns = np.nonzero((before != after).any(0).numpy())
            box = after[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert torch.equal(box, box[:, :1, :1].expand_as(box))
            assert 0.05 < box[0].numel() / 112**2 < 0.25
            assert fill == "colour" or not box.any()


def test_several_follow_each_other(make_picture) -> None:
    images = faces(make_picture, 4)
    steps = [ColourJitter(probability=1.0), GaussianBlur(probability=1.0)]
    generator = seeded(9)
    expected = steps[1](steps[0](images, generator), generator)
    assert torch.equal(InTurn(steps)(images, seeded(9)), expected)
    assert torch.equal(InTurn([])(images, seeded(9)), images)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: ColourJitter(probability=1.5), "probability must be in"),
        (lambda: ColourJitter(contrast=-1), "must be in"),
        (lambda: RandomResizedCrop(scale=(0.5, 1.2)), "scale must be shares"),
        (lambda: RandomResizedCrop(ratio=(2, 1)), "ratio must be"),
        (lambda: LowResolution(sizes=[]), "sizes must be pixels"),
        (lambda: GaussianBlur(kernel_size=4), "kernel_size must be odd"),
        (lambda: GaussianBlur(sigma=(0, 1)), "sigma must be"),
        (lambda: RandomErasing(fill="black"), "fill must be 'grey' or 'colour'"),
        (lambda: GaussianBlur(sigma=(1, float("inf"))), "sigma must be .* finite"),
        (
            lambda: GaussianBlur(kernel_size=33, probability=1.0)(torch.zeros(1, 3, 16, 16)),
            r"kernel_size must be below twice .* \(16, 16\), got 33",
        ),
        (lambda: RandAugment(groups=0), "groups and num_ops must be at least 1"),
        (lambda: RandAugment(num_ops=0), "groups and num_ops must be at least 1"),
        (lambda: RandAugment(magnitude=31), r"magnitude must be in 0\.\.30, got 31"),
        (lambda: RandAugment(magnitude=-1), r"magnitude must be in 0\.\.30, got -1"),
    ],
)
def test_wrong_settings_are_refused(make, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()
