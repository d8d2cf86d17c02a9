"""Weights that come as a list of layers in order, without names of ours: .mat files of MatConvNet, .t7 files of Torch7.

Shapes: O channels out, I channels in, K kernel side.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from transface.backbones.weights.matlab_layers import read_matlab_layers
from transface.backbones.weights.released_families import Channels
from transface.backbones.weights.torch7 import read_torch7_layers

USUAL_CHANNELS: dict[str, Channels] = {".mat": "rgb", ".t7": "bgr"}


class LayerList(NamedTuple):
    """Layers with weights, in order: (weight (O, I, K, K) or (O, I), bias (O,)) each; `mean` (3,) RGB in 0..255 that
    the network subtracts, or None where the file does not say.
    """

    path: Path
    layers: list[tuple[Tensor, Tensor]]
    mean: Tensor | None


def read_layers(path: str | Path, *, channels: Channels | None = None) -> LayerList:
    """Return the layers of a .mat or .t7 file; the first convolution takes RGB.

    Args:
        channels: how the file was trained; None: .mat as RGB, .t7 as BGR (as Caffe's networks were).

    Raises:
        FileNotFoundError: nothing there.
        ValueError: if it is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    if path.suffix == ".mat":
        layers, mean = read_matlab_layers(path)
    elif path.suffix == ".t7":
        layers, mean = read_torch7_layers(path), None
    else:
        raise ValueError(f"layers are read from .mat (MatConvNet) and .t7 (Torch7) files, got {path}")
    if not layers:
        raise ValueError(f"{path} holds no layer with weights")
    if (channels or USUAL_CHANNELS[path.suffix]) == "bgr" and layers[0][0].ndim == 4:
        first, bias = layers[0]
        layers[0] = (first.flip(1), bias)
    return LayerList(path, layers, mean)


@torch.no_grad()
def fill_layers(parts: Mapping[str, nn.Module], found: LayerList, *, what: str) -> None:
    """Copy the layers of a file into convolutions and linear layers, in order; more layers than parts (a classifier)
    are left out.

    Raises:
        ValueError: naming the first layer that is missing or of another shape.
    """
    if len(found.layers) < len(parts):
        raise ValueError(f"{found.path} has {len(found.layers)} layers with weights, {what} needs {len(parts)}")
    for (name, part), (weight, bias) in zip(parts.items(), found.layers, strict=False):
        assert isinstance(part, nn.Conv2d | nn.Linear)
        assert part.bias is not None
        if weight.numel() != part.weight.numel() or len(weight) != len(part.weight) or bias.numel() != len(part.bias):
            raise ValueError(
                f"{found.path}: {name} of {what} is {tuple(part.weight.shape)}, the file has {tuple(weight.shape)}:"
                " is it another network, or input_size not 224?"
            )
        part.weight.copy_(weight.reshape(part.weight.shape))
        part.bias.copy_(bias.reshape(-1))
