"""The size of the images a backbone takes, as a config may give it."""

from collections.abc import Callable

import pytest
from torch import nn

from transface.backbones.face_vit import FaceViT
from transface.backbones.features import image_sides
from transface.backbones.iresnet import iresnet18
from transface.backbones.mobilefacenet import MobileFaceNet
from transface.backbones.timm_face import TimmFace


def test_one_side_stands_for_both() -> None:
    assert image_sides(112) == (112, 112)
    assert image_sides([96, 112]) == (96, 112)


@pytest.mark.parametrize("build", [FaceViT, iresnet18, MobileFaceNet, lambda **words: TimmFace("resnet18", **words)])
@pytest.mark.parametrize("size", [[112], [112, 112, 3], [], 0, -16, [112, 0]])
def test_every_backbone_refuses_an_image_without_two_sides(
    build: Callable[..., nn.Module], size: int | list[int]
) -> None:
    with pytest.raises(ValueError, match="image_size must be one side"):
        build(image_size=size)
