"""Every timm model is an encoder: tokens in their grid, prefix tokens, layers, any size, no parameter without a
gradient.
"""

import pytest
import timm
import torch

from transface.backbones.features import EncodedImages, Encoder
from transface.backbones.timm_encoder import TimmEncoder

NAMES = [
    "test_vit",
    "test_vit2",
    "test_vit3",
    "test_vit4",
    "test_resnet",
    "test_efficientnet",
    "test_convnext",
    "test_byobnet",
]
LAYERED = ["test_vit", "test_vit4", "test_resnet", "test_convnext"]


@pytest.mark.parametrize("size", [64, (96, 64)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_tokens_lie_in_their_grid_and_every_trained_parameter_has_a_gradient(name: str, size: object) -> None:
    encoder = TimmEncoder(name, image_size=size)  # type: ignore[arg-type]
    encoded = encoder(torch.randn(2, 3, *encoder.image_size))
    assert isinstance(encoder, Encoder)
    assert isinstance(encoded, EncodedImages)
    rows, columns = encoder.grid_size
    assert encoded.tokens.shape == (2, rows * columns, encoder.token_width)
    assert encoded.prefix_tokens.shape == (2, encoder.num_prefix_tokens, encoder.token_width)
    assert encoded.pooled().shape == (2, encoder.token_width)
    (encoded.tokens.square().sum() + encoded.prefix_tokens.square().sum()).backward()
    without = [name for name, value in encoder.named_parameters() if value.requires_grad and value.grad is None]
    assert not without


@pytest.mark.parametrize("name", LAYERED)
def test_the_tokens_of_the_last_layer_come_last(name: str) -> None:
    encoder = TimmEncoder(name, image_size=64, layers=[0, -1]).eval()
    with torch.no_grad():
        encoded = encoder(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert len(encoded.layers) == len(encoded.layer_prefix_tokens) == 2
    assert encoded.layers[-1].shape == encoded.tokens.shape
    assert encoded.layer_prefix_tokens[-1].shape == encoded.prefix_tokens.shape


def test_no_layers_asked_for_change_nothing_in_the_tokens() -> None:
    plain, layered = (
        TimmEncoder("test_vit", image_size=64).eval(),
        TimmEncoder("test_vit", image_size=64, layers=[1]).eval(),
    )
    layered.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(layered(images).tokens, plain(images).tokens)
        torch.testing.assert_close(layered(images).prefix_tokens, plain(images).prefix_tokens)


def test_an_encoder_holds_no_classifier_and_no_neck() -> None:
    encoder = TimmEncoder("vit_tiny_patch16_224", image_size=224)
    own = sum(value.numel() for value in encoder.parameters())
    assert own == sum(value.numel() for value in timm.create_model("vit_tiny_patch16_224", num_classes=0).parameters())
