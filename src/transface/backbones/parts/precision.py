"""Whether the hardware multiplies bfloat16, and running a part in the precision of its own weights under autocast."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor


@contextmanager
def in_precision_of(weight: Tensor, x: Tensor) -> Iterator[Tensor]:
    """Yield x in the dtype of `weight`, with autocast switched off: the gate and the neck end in a sigmoid and a batch
    norm.

    Without autocast nothing is entered, so an exported graph holds no trace of it.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            yield x.to(weight.dtype)
    else:
        yield x.to(weight.dtype)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether this device has instructions that multiply bfloat16 matrices (AMX, AVX-512 BF16, tensor cores
    since Ampere).
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _processor_multiplies_bfloat16()


@cache
def _processor_multiplies_bfloat16() -> bool:
    abilities = torch.cpu.get_capabilities()
    return any(bool(abilities.get(name)) for name in ("amx_bf16", "avx512_bf16"))
