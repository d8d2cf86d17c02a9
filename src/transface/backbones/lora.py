"""LoRA through peft: a frozen backbone whose chosen layers learn a correction of low rank.

LoRA (ICLR 2022, arXiv 2106.09685): W x becomes W x + (alpha / rank) B A x, with A (rank, in) and B (out, rank) trained
alone.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

TRANSFORMER_LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
TRAINED_PARTS = ("gate", "neck")


def with_lora(
    backbone: nn.Module,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    layers: Sequence[str] = TRANSFORMER_LAYERS,
    trained: Sequence[str] = TRAINED_PARTS,
) -> nn.Module:
    """Return the same backbone, frozen but for low-rank corrections of `layers` and for the parts whose names begin
    with `trained`.

    At the start it gives what it gave before: B is zero. `merge_lora` takes the corrections into the weights.

    Args:
        layers: ends of the names of linear or convolution layers.
        trained: parts trained in full, by default the gate and the neck, which are new where the weights came from
            elsewhere.

    Raises:
        ValueError: if peft is not installed, rank is below 1, or no layer has such a name.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    peft = _peft()
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(layers), bias="none")
    try:
        found: nn.Module = peft.inject_adapter_in_model(config, backbone)
    except ValueError as error:
        raise ValueError(
            f"no layer of {type(backbone).__name__} is called {', '.join(layers)}: name its linear layers in `layers`"
        ) from error
    for name, parameter in found.named_parameters():
        if name.startswith(tuple(trained)):
            parameter.requires_grad_(True)
    return found


def merge_lora(backbone: nn.Module) -> nn.Module:
    """Return the same backbone with every low-rank correction added to the weight it belongs to: the plain network
    again.
    """
    _peft()
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(backbone.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, attribute = name.rpartition(".")
            setattr(backbone.get_submodule(parent), attribute, module.get_base_layer())
    if hasattr(backbone, "peft_config"):
        del backbone.peft_config
    return backbone


def has_lora(backbone: nn.Module) -> bool:
    """Return whether a backbone holds low-rank corrections."""
    return any(".lora_A." in name for name, _ in backbone.named_parameters())


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ValueError("LoRA needs the package peft: pip install peft") from error
    return peft
