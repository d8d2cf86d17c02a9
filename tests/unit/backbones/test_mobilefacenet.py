"""MobileFaceNet: size, and its forward re-derived from the state dict."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transface.backbones.mobilefacenet import MobileFaceNet


def test_number_of_parameters_is_the_released_one() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in MobileFaceNet().parameters()) == 2_059_520


def naive_forward(state: dict[str, Tensor], images: Tensor, depths: tuple[int, ...]) -> Tensor:
    def unit(x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight = state[f"{name}.layers.0.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=padding, groups=x.shape[1] // weight.shape[1])
        x = F.batch_norm(
            x, *(state[f"{name}.layers.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        )
        slope = state.get(f"{name}.layers.2.weight")
        return x if slope is None else F.prelu(x, slope)

    def bottleneck(x: Tensor, name: str, stride: int) -> Tensor:
        y = unit(unit(unit(x, f"{name}.layers.0"), f"{name}.layers.1", stride, 1), f"{name}.layers.2")
        return x + y if stride == 1 else y

    x = unit(images, "layers.0", 2, 1)
    for stage, depth in enumerate(depths):
        if stage > 0:
            x = bottleneck(x, f"layers.{2 * stage}", 2)
        if stage == 0 and depth == 1:
            x = unit(x, "layers.1", 1, 1)
        else:
            for number in range(depth):
                x = bottleneck(x, f"layers.{2 * stage + 1}.layers.{number}", 1)
    x = unit(unit(x, "conv_sep"), "features.layers.0").flatten(1) @ state["features.layers.2.weight"].T
    return F.batch_norm(
        x, *(state[f"features.layers.3.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    )


@pytest.mark.parametrize(("depths", "width"), [((1, 1, 2, 1), 1), ((2, 1, 1, 1), 2)])
def test_forward_equals_a_naive_one(depths: tuple[int, ...], width: int) -> None:
    model = MobileFaceNet(depths, width=width, image_size=48, embedding_size=8).double().eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if "running_var" in name else value.normal_(std=0.3)
    images = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    torch.testing.assert_close(
        model(images).embedding, naive_forward(dict(model.state_dict()), images, depths), rtol=1e-9, atol=1e-9
    )


def test_layer_index_counts_the_stages() -> None:
    model = MobileFaceNet(image_size=32)
    names = (
        "layers.0.layers.0.weight",
        "layers.7.layers.1.layers.0.layers.0.weight",
        "conv_sep.layers.0.weight",
        "features.layers.2.weight",
    )
    assert [model.layer_index(name) for name in names] == [0, 7, 8, 8]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="depths"):
        MobileFaceNet((1, 2, 3))
