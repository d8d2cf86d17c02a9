"""IResNet: sizes, and its forward re-derived from the state dict."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transface.backbones.iresnet import IResNet, iresnet18, iresnet34, iresnet50, iresnet100, iresnet200


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (iresnet18, 24_025_600),
        (iresnet34, 34_139_328),
        (iresnet50, 43_590_848),
        (iresnet100, 65_156_160),
        (iresnet200, 118_833_920),
    ],
)
def test_number_of_parameters_is_the_known_one(build: type, count: int) -> None:
    with torch.device("meta"):
        model = build()
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert not model.features.weight.requires_grad


def naive_forward(state: dict[str, Tensor], images: Tensor, depths: tuple[int, ...], subsample: bool) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt() * weight.view(shape) + bias.view(shape)

    def prelu(x: Tensor, name: str) -> Tensor:
        return torch.where(x > 0, x, x * state[f"{name}.weight"].view(1, -1, 1, 1))

    x = prelu(norm(F.conv2d(images, state["conv1.weight"], padding=1), "bn1"), "prelu")
    for stage, depth in enumerate(depths, start=1):
        for unit in range(depth):
            name, stride = f"layer{stage}.{unit}", 2 if unit == 0 else 1
            y = F.conv2d(norm(x, f"{name}.bn1"), state[f"{name}.conv1.weight"], padding=1)
            y = F.conv2d(
                prelu(norm(y, f"{name}.bn2"), f"{name}.prelu"), state[f"{name}.conv2.weight"], stride=stride, padding=1
            )
            if unit == 0 and subsample and stage == 1:
                x = x[:, :, ::2, ::2]
            elif unit == 0:
                x = norm(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2), f"{name}.downsample.1")
            x = x + norm(y, f"{name}.bn3")
    return norm(norm(x, "bn2").flatten(1) @ state["fc.weight"].T + state["fc.bias"], "features")


@pytest.mark.parametrize("shortcut", ["convolution", "subsample"])
def test_forward_equals_a_naive_one(shortcut: str) -> None:
    model = IResNet((1, 2, 1, 1), image_size=30, embedding_size=8, first_shortcut=shortcut).double().eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if "running_var" in name else value.normal_(std=0.1)
    images = torch.randn(2, 3, 30, 30, dtype=torch.float64)
    expected = naive_forward(dict(model.state_dict()), images, (1, 2, 1, 1), shortcut == "subsample")
    torch.testing.assert_close(model(images).embedding, expected, rtol=1e-9, atol=1e-9)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    images = torch.randn(3, 3, 32, 32)
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = IResNet((1, 1, 1, 1), image_size=32, embedding_size=8, gradient_checkpointing=recompute)
        model(images).embedding[:, 0].square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
    torch.testing.assert_close(*gradients)


def test_layer_index_counts_the_units() -> None:
    model = IResNet((1, 2, 1, 1), image_size=32)
    names = (
        "conv1.weight",
        "layer1.0.bn1.weight",
        "layer2.1.conv1.weight",
        "layer4.0.bn3.bias",
        "bn2.weight",
        "fc.weight",
        "features.bias",
    )
    assert [model.layer_index(name) for name in names] == [0, 1, 3, 5, 6, 6, 6]


@pytest.mark.parametrize(
    "settings", [{"depths": (1, 1, 1)}, {"depths": (1, 0, 1, 1)}, {"depths": (1,) * 4, "first_shortcut": "pool"}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"depths|first_shortcut"):
        IResNet(**settings)
