"""Opens what an earlier stage trained: a frozen teacher, or the weights a student starts from.

Nothing in a file is executed: checkpoints are read as tensors and plain values only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transface.backbones.weights.rebuild import build_backbone
from transface.training.checkpoints.reader import find_checkpoint, read_checkpoint, tensors_of


def open_network(path: str | Path) -> nn.Module:
    """Return the network of a run's folder or checkpoint, with its weights, in eval mode.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: if the checkpoint does not say which network it holds.
    """
    file = find_checkpoint(path)
    content = read_checkpoint(file)
    own = content.get("transface", {})
    config = own.get("network") or own.get("config", {}).get("system", {}).get("network", {}).get("network")
    if not isinstance(config, Mapping):
        raise ValueError(f"{file} does not say which network it holds: train it again with this version")
    network = build_backbone(config)
    network.load_state_dict(network_state(content))
    return network.eval()


def network_state(content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the state dict of the trained network in a checkpoint's content."""
    state = tensors_of(dict(content["state_dict"]))
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}


def started_from(network: nn.Module, start: str | Path | None) -> nn.Module:
    """Return the network with the weights of an earlier stage; None leaves it as it was built.

    Raises:
        ValueError: if the stage trained another network, naming what differs.
    """
    if start is None:
        return network
    file = find_checkpoint(start)
    state = network_state(read_checkpoint(file))
    own = network.state_dict()
    odd = [
        name
        for name in {**own, **state}
        if name not in own or name not in state or own[name].shape != state[name].shape
    ]
    if odd:
        raise ValueError(
            f"{file} holds another network than the one to train: {', '.join(sorted(odd)[:3])} differ; take the same"
            " backbone in all stages"
        )
    network.load_state_dict(state)
    return network
