"""Matrix products of a head in a stated precision: inputs may be rounded, sums and results are float32.

Norms, margins, log-sum-exp and losses are none of these products and stay in float32 (docs/scaling.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Precision = Literal["float32", "tf32", "bf16"]
PrecisionSetting = Literal["auto", "float32", "tf32", "bf16"]
TENSOR_CORES_OF = 8  # compute capability since which a device multiplies bfloat16 and TF32


def check_precision(setting: str) -> PrecisionSetting:
    """Return the setting.

    Raises:
        ValueError: if there is no such precision.
    """
    if setting not in get_args(PrecisionSetting):
        raise ValueError(f"matmul_precision must be one of {', '.join(get_args(PrecisionSetting))}, got {setting!r}")
    return setting  # type: ignore[return-value]


def precision_on(device: torch.device, setting: PrecisionSetting) -> Precision:
    """Return the precision that a setting means here and now.

    "auto" is float32 on the CPU; on a CUDA device bf16 where the surroundings are under bfloat16 autocast and the
    device multiplies it, else tf32.
    """
    if setting != "auto":
        return setting
    if device.type != "cuda":
        return "float32"
    rounded = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") == torch.bfloat16
    return "bf16" if rounded and torch.cuda.get_device_capability(device)[0] >= TENSOR_CORES_OF else "tf32"


class Factor(NamedTuple):
    """A matrix of a product, rounded once for all products it is part of."""

    values: Tensor

    @property
    def T(self) -> "Factor":  # noqa: N802 - as a tensor has it
        """The factor transposed."""
        return Factor(self.values.T)


def factor(values: Tensor, precision: Precision) -> Factor:
    """Return a matrix as a factor: rounded to bfloat16 for "bf16" (float64 stays), else as it is.

    Where no product of bfloat16 gives float32 (on the CPU), the rounded numbers are held in float32: their products are
    exact there, and so are summed in float32 too.
    """
    if precision != "bf16" or values.dtype != torch.float32:
        return Factor(values)
    rounded = values.bfloat16()
    return Factor(rounded if values.device.type == "cuda" else rounded.float())


def product(a: Factor, b: Factor) -> Tensor:
    """Return a @ b, in float32 where the factors are bfloat16."""
    if a.values.dtype == torch.bfloat16:
        return torch.mm(a.values, b.values, out_dtype=torch.float32)
    return a.values @ b.values


def add_product(total: Tensor, a: Factor, b: Factor) -> None:
    """Add a @ b to the total, in place."""
    if a.values.dtype == torch.bfloat16:
        total.add_(product(a, b))
    else:
        total.addmm_(a.values, b.values)


@contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Let float32 products on a CUDA device use TF32, or not, for a while; nothing on other devices, which have none.

    The setting of the process is put back after.
    """
    if device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before
