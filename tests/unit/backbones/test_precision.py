"""A part runs in the precision of its weights."""

import torch

from transface.backbones.precision import in_precision_of


def test_autocast_is_off_inside_and_back_after() -> None:
    x, weight = torch.randn(3, 3, dtype=torch.bfloat16), torch.randn(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with in_precision_of(weight, x) as exact:
            assert (exact @ weight).dtype == torch.float32
        assert (exact @ weight).dtype == torch.bfloat16


def test_weights_of_half_precision_get_half_precision() -> None:
    with in_precision_of(torch.zeros(1, dtype=torch.bfloat16), torch.zeros(2)) as x:
        assert x.dtype == torch.bfloat16
