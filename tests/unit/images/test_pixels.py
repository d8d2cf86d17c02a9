"""Normalising and mirroring, against loops over images."""

import pytest
import torch

from transface.images.pixels import draw_mirrored, mirror, normalise


def test_black_is_minus_one_and_white_is_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert torch.allclose(normalise(images).ravel(), torch.tensor([-1.0, -0.6, 1.0]))
    assert normalise(images, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_images_stored_channel_last_come_out_channel_by_channel() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    turned = normalise(images.to(memory_format=torch.channels_last))
    assert turned.is_contiguous()
    assert torch.equal(turned, normalise(images))


def test_images_normalised_before_are_refused() -> None:
    with pytest.raises(TypeError, match=r"must be uint8, got torch\.float32"):
        normalise(torch.zeros(1, 3, 2, 2))


def test_each_image_is_mirrored_or_untouched_as_drawn() -> None:
    images = torch.randn(64, 3, 5, 4)
    flipped = mirror(images, draw_mirrored(images, torch.Generator().manual_seed(1)))
    drawn = torch.rand(64, generator=torch.Generator().manual_seed(1)) < 0.5
    assert 10 < int(drawn.sum()) < 54
    for before, after, mirrored in zip(images, flipped, drawn, strict=True):
        expected = torch.stack([before[..., 3 - column] for column in range(4)], -1) if mirrored else before
        assert torch.equal(after, expected)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_both_ends_of_the_probability(probability: float) -> None:
    images = torch.randint(0, 256, (8, 3, 4, 4), dtype=torch.uint8)
    found = mirror(images, draw_mirrored(images, probability=probability))
    assert torch.equal(found, images.flip(-1) if probability else images)
