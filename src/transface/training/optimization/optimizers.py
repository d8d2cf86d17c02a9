"""AdamW and SGD for everything trained here: torch's own, which also step the sampled rows of partial_fc's centres and
no others.
"""

import math
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from transface.training.optimization.sampled_rows import SampledRows


class AdamW(SampledRows, torch.optim.AdamW):
    """torch.optim.AdamW with rows of a sparse gradient stepped apart; each row has its own count for the bias
    correction.

    Takes torch's arguments. Left alone, `fused` is on where all parameters are on the CPU: one pass, and no copies as
    large as the centres.
    """

    def __init__(self, params: ParamsT, lr: float = 1e-3, **settings: Any) -> None:
        refuse_infinite(lr)
        super().__init__(params, lr=lr, **settings)
        fuse_on_cpu(self, settings)


class SGD(SampledRows, torch.optim.SGD):
    """torch.optim.SGD with rows of a sparse gradient stepped apart, momentum and decay included.

    `fused` is refused: torch's fused SGD cannot step rows that move for the first time beside rows that have moved.
    """

    def __init__(self, params: ParamsT, lr: float = 1e-3, **settings: Any) -> None:
        if settings.get("fused"):
            raise ValueError("fused SGD cannot step sampled rows: leave fused out")
        if not 0 <= (momentum := settings.get("momentum", 0.0)) < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")
        refuse_infinite(lr)
        super().__init__(params, lr=lr, **settings)


def refuse_infinite(lr: float) -> None:
    """Raise where a learning rate is infinite; torch refuses the others that are none."""
    if lr == math.inf:
        raise ValueError(f"Invalid learning rate: {lr}")


def fuse_on_cpu(optimizer: torch.optim.Optimizer, settings: dict[str, Any]) -> None:
    """Switch the fused implementation on if the settings choose none and all parameters are on the CPU.

    Not on a GPU, where a fused optimizer undoes the fp16 loss scale itself and gradients would be clipped before that.
    """
    chosen = any(settings.get(name) is not None for name in ("fused", "foreach", "differentiable"))
    devices = {parameter.device.type for group in optimizer.param_groups for parameter in group["params"]}
    if not chosen and devices == {"cpu"}:
        for group in optimizer.param_groups:
            group["fused"] = True
