"""The published second stage: everything is frozen but what Layer-Attention adds.

Faceptor (ECCV 2024) section 3.3 and its released configurations.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from transface.backbones.weights.state_dicts import read_state_dict
from transface.systems.generalist.faceptor import Faceptor
from transface.systems.generalist.released import add_layers

logger = logging.getLogger(__name__)


def train_only(network: nn.Module, patterns: Sequence[str]) -> int:
    """Freeze all parameters but those whose name holds one of the patterns, set wholly frozen parts to evaluation;
    return how many numbers train.

    Raises:
        ValueError: for a pattern that no parameter's name holds.
    """
    named = dict(network.named_parameters())
    for pattern in patterns:
        if not any(pattern in name for name in named):
            raise ValueError(f"no parameter's name holds {pattern!r}; names are like {', '.join(list(named)[:3])}")
    for name, parameter in named.items():
        parameter.requires_grad_(any(pattern in name for pattern in patterns))
    for part in frozen_modules(network):
        part.eval()
    return sum(parameter.numel() for parameter in named.values() if parameter.requires_grad)


def frozen_modules(network: nn.Module) -> tuple[nn.Module, ...]:
    """Return the parts that have parameters and train none of them."""
    found = []
    for part in network.modules():
        own = list(part.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            found.append(part)
    return tuple(found)


def start_second_stage(model: Faceptor) -> int:
    """Freeze all but the projections and embeddings of the layers after the first (and their bias); return how many
    numbers train.

    Raises:
        ValueError: for a model with one layer.
    """
    count = len(model.memory.layers)
    if count < 2:
        raise ValueError("the second stage adds layers: give read_layers more than the main one")
    extra = ["memory.layer_embedding", *(f"memory.projections.{index}." for index in range(1, count))]
    if model.layer_bias is not None:
        extra.append("layer_bias.")
    trained = train_only(model, extra)
    model.memory.layer_embedding.register_hook(_without_main_row)
    return trained - model.memory.layer_embedding.shape[1]


def second_stage(encoder: nn.Module, tasks: Iterable[Any], *, start: str | Path, **settings: Any) -> Faceptor:
    """Return a Faceptor with the weights of a first stage, everything frozen but what its further layers add.

    Args:
        encoder, tasks, settings: of Faceptor, with more than one layer to read; there may be fewer tasks than in the
            first stage.
        start: a run, checkpoint or file of weights of a one-layer Faceptor.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no first stage of this network.
    """
    network = Faceptor(encoder, tasks, **settings)
    own = network.state_dict()
    found = read_state_dict(start)
    of_tasks = ("queries.", "identity.", "value.", "map.", "layer_bias.")
    state = {key: value for key, value in found.items() if key in own or not key.startswith(of_tasks)}
    if len(network.memory.layers) < 2:
        raise ValueError("the second stage adds layers: give network.read_layers more than the main one")
    if "memory.layer_embedding" not in state or len(state["memory.layer_embedding"]) != 1:
        raise ValueError(f"{start} is no first stage: it must be a Faceptor that reads one layer")
    add_layers(network, state)
    trained = start_second_stage(network)
    network.second_stage = True
    logger.info("second stage: %d numbers are trained", trained)
    return network


def _without_main_row(gradient: Tensor) -> Tensor:
    """Return the gradient of the layer embeddings with that of the main layer, which is frozen, set to zero."""
    gradient = gradient.clone()
    gradient[0] = 0
    return gradient
