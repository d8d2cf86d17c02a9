"""A part runs in the precision of its weights."""

import pytest
import torch

from transface.backbones.parts import precision
from transface.backbones.parts.precision import in_precision_of, multiplies_bfloat16


def test_autocast_is_off_inside_and_back_after() -> None:
    x, weight = torch.randn(3, 3, dtype=torch.bfloat16), torch.randn(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with in_precision_of(weight, x) as exact:
            assert (exact @ weight).dtype == torch.float32
        assert (exact @ weight).dtype == torch.bfloat16


def test_weights_of_half_precision_get_half_precision() -> None:
    with in_precision_of(torch.zeros(1, dtype=torch.bfloat16), torch.zeros(2)) as x:
        assert x.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [({"amx_bf16": True}, True), ({"avx512_bf16": True, "amx_bf16": False}, True), ({"avx2": True}, False)],
)
def test_a_processor_multiplies_bfloat16_by_what_it_says_it_can(
    monkeypatch: pytest.MonkeyPatch, abilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    precision._processor_multiplies_bfloat16.cache_clear()
    try:
        assert multiplies_bfloat16(torch.device("cpu")) is expected
    finally:
        precision._processor_multiplies_bfloat16.cache_clear()


def test_a_device_it_does_not_know_is_not_trusted() -> None:
    assert not multiplies_bfloat16(torch.device("meta"))
