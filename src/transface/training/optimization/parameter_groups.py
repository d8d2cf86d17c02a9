"""Parameters of a network in groups: which get weight decay, which learn slower, which are frozen."""

from collections.abc import Iterable
from typing import Any, Literal

from torch import nn

DecayRule = Literal["matrices", "released"]
POSITION_WORDS = (
    "pos_embed",
    "position",
    "mask_token",
    "cls_token",
    "register_tokens",
    "reg_token",
    "class_embedding",
    "queries.",
    "layer_embedding",
)


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Return whether weight decay belongs on this parameter: on matrices; not on norms, biases, positions and learned
    tokens.
    """
    return parameter.ndim > 1 and not any(word in name for word in POSITION_WORDS)


def group_parameters(
    network: nn.Module, rule: DecayRule = "matrices", *, layer_decay: float = 1.0, frozen: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Return optimizer groups of the parameters that need a gradient.

    Args:
        network: its parameters are grouped; those of the parts in `frozen` are switched off.
        rule: "matrices": no decay on norms, biases, positions; "released": the same decay on everything, as the
            released code has it.
        layer_decay: factor per layer from the end to the input on the learning rate; needs `network.layer_index(name)`.
        frozen: as of `freeze`.

    Raises:
        ValueError: for an unknown rule, a frozen word that names nothing, or layer_decay on a network without layers.
    """
    if rule not in ("matrices", "released"):
        raise ValueError(f'decay rule must be "matrices" or "released", got {rule!r}')
    named = dict(network.named_parameters())
    freeze(network, frozen)
    layers = _layers(network, named, layer_decay)
    deepest = max(layers.values(), default=0)
    groups: dict[tuple[bool, int], dict[str, Any]] = {}
    for name, parameter in named.items():
        if not parameter.requires_grad:
            continue
        key = (rule == "released" or decays(name, parameter), layers[name])
        group = groups.setdefault(key, {"params": [], "lr_factor": layer_decay ** (deepest - key[1])})
        group["params"].append(parameter)
        if not key[0]:
            group["weight_decay"] = 0.0
    return list(groups.values())


def freeze(network: nn.Module, parts: Iterable[str]) -> tuple[nn.Module, ...]:
    """Switch off the parameters of some parts and return the modules that lie wholly in them.

    A part is a dotted name or the beginning of one, whole words: "blocks.1" is block 1, not block 10.

    Raises:
        ValueError: for a part that names no parameter.
    """
    named = dict(network.named_parameters())
    for part in parts:
        hit = [name for name in named if _lies_in(name, part)]
        if not hit:
            raise ValueError(
                f"frozen part {part!r} names no parameter; names begin with {sorted({n.split('.')[0] for n in named})}"
            )
        for name in hit:
            named[name].requires_grad_(False)
    return tuple(module for name, module in network.named_modules() if any(_lies_in(name, part) for part in parts))


def _lies_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _layers(network: nn.Module, named: dict[str, nn.Parameter], layer_decay: float) -> dict[str, int]:
    if layer_decay == 1.0:
        return dict.fromkeys(named, 0)
    layer_index = getattr(network, "layer_index", None)
    if layer_index is None:
        raise ValueError(
            f"layer_decay={layer_decay} needs a backbone with layer_index(name), {type(network).__name__} has none:"
            " use 1.0"
        )
    return {name: int(layer_index(name)) for name in named}
