"""Counts the floating-point operations of a network's forward pass."""

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from transface.backbones.parts.evaluating import evaluating


def forward_flops(network: nn.Module, images: Tensor) -> int:
    """Return the floating-point operations (a multiply-add counts two) of one forward of `images` (B, 3, H, W), whole
    batch.

    Convolutions, matrix products and attention are counted. Flags of training and random state stay as they are.
    """
    counter = FlopCounterMode(display=False)
    # The plain attention: fused kernels of some devices are not in torch's table.
    with torch.random.fork_rng(devices=[]), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter, evaluating(network):
        network(images)
    return counter.get_total_flops()
