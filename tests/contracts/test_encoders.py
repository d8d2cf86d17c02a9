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


@pytest.mark.parametrize("name", LAYERED)
def test_layers_come_in_the_order_asked_for(name: str) -> None:
    encoder = TimmEncoder(name, image_size=64, layers=[0, 1, -1]).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ordered = encoder(images).layers
        for layers, places in (([-1, 0, 1], [2, 0, 1]), ([encoder.layers[2], 1], [2, 1])):
            other = TimmEncoder(name, image_size=64, layers=layers).eval()
            other.load_state_dict(encoder.state_dict())
            assert other.layers == tuple(encoder.layers[place] for place in places)
            for ours, place in zip(other(images).layers, places, strict=True):
                torch.testing.assert_close(ours, ordered[place])


@pytest.mark.parametrize("layers", [[9], [-9], [1, 1], [0, -6], ["last"]], ids=str)
def test_layers_there_are_not_are_refused(layers: list[int]) -> None:
    with pytest.raises(ValueError, match=r"layers of timm's test_vit are in 0\.\.5 .*each once"):
        TimmEncoder("test_vit", image_size=64, layers=layers)


def test_layers_before_the_class_token_have_no_prefix() -> None:
    encoder = TimmEncoder("cait_xxs24_224", image_size=32, layers=[1]).eval()
    with torch.no_grad():
        encoded = encoder(torch.randn(1, 3, 32, 32))
    assert encoded.layers[0].shape == (1, 4, 192)
    assert encoded.layer_prefix_tokens[0].shape == (1, 0, 192)


@pytest.mark.parametrize(("size", "grid"), [(112, 7), (120, 7), (127, 7)])
def test_a_patch_is_what_its_token_was_made_of_also_where_a_rim_is_left(size: int, grid: int) -> None:
    encoder = TimmEncoder("vit_tiny_patch16_224", image_size=size).eval()
    assert (encoder.grid_size, encoder.patch_size) == ((grid, grid), 16)


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
