"""Reads the layers of a MatConvNet network from its .mat file (version 7 or older; nothing in it is executed).

Shapes: O channels out, I channels in, H x W kernel.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transface.matlab_files import load_matlab


def read_matlab_layers(path: Path) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """Return (weight (O, I, H, W), bias (O,)) of each layer that has weights, in order, and the mean image's mean
    colour (3,), None where there is none.

    Raises:
        ValueError: if the file cannot be read, or is no network of MatConvNet.
    """
    content = load_matlab(path, squeeze=True)
    # Released files hold the parts of the network as variables, files saved by hand often one variable `net`.
    network = content["net"] if "net" in content else SimpleNamespace(**content)
    layers = getattr(network, "layers", None)
    if layers is None:
        raise ValueError(f"{path} is no network of MatConvNet: it has no layers")
    found = [pair for layer in np.atleast_1d(layers) if (pair := _weights_of(layer)) is not None]
    return [_as_tensors(path, *pair) for pair in found], _mean_of(network)


def _weights_of(layer: Any) -> tuple[Any, Any] | None:
    """Return filters and biases of a layer in the newer form (weights) or the older one, None where it has none."""
    weights = getattr(layer, "weights", None)
    if weights is not None and len(weights) >= 2:
        return weights[0], weights[1]
    filters = getattr(layer, "filters", None)
    return None if filters is None else (filters, layer.biases)


def _as_tensors(path: Path, filters: Any, biases: Any) -> tuple[Tensor, Tensor]:
    bias = torch.from_numpy(np.array(biases, dtype=np.float32).reshape(-1))
    array = np.array(filters, dtype=np.float32)
    if array.size == 0 or array.size % len(bias):
        raise ValueError(f"{path}: filters {array.shape} and {len(bias)} biases do not belong together")
    # squeezing took away sides of 1: (1, 1, I, O) came as (I, O).
    while array.ndim < 4:
        array = array[None]
    return torch.from_numpy(array.transpose(3, 2, 0, 1).copy()), bias


def _mean_of(network: Any) -> Tensor | None:
    for holder in (getattr(network, "meta", None), network):
        normalization = getattr(holder, "normalization", None)
        image = getattr(normalization, "averageImage", None)
        if image is not None and np.size(image) >= 3:
            return torch.from_numpy(np.array(image, dtype=np.float32).reshape(-1, 3).mean(0))
    return None
