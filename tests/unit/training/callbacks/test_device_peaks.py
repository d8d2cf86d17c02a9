"""The table of peaks: the right row for a device's name, the right column for a precision."""

import pytest

from transface.training.callbacks.device_peaks import peak_flops


@pytest.mark.parametrize(
    ("name", "precision", "tf32", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16-mixed", False, 989.4),
        ("NVIDIA H100 PCIe", "16-mixed", False, 756.0),
        ("NVIDIA H200", "bf16-true", False, 989.4),
        ("NVIDIA A100-SXM4-40GB", "bf16-mixed", False, 312.0),
        ("NVIDIA A100 80GB PCIe", "32-true", True, 156.0),
        ("NVIDIA A10", "32-true", False, 31.2),
        ("NVIDIA A100-SXM4-40GB", "32-true", False, 19.5),
        ("NVIDIA L4", "16-true", False, 121.0),
        ("NVIDIA L40S", "16-true", False, 362.0),
        ("Tesla V100-SXM2-32GB", "32-true", True, 15.7),
        ("NVIDIA GeForce RTX 4090", "bf16-mixed", False, 165.2),
    ],
)
def test_a_device_has_its_peak(name: str, precision: str, tf32: bool, tera: float) -> None:
    assert peak_flops(name, precision=precision, tf32=tf32) == pytest.approx(tera * 1e12)


@pytest.mark.parametrize(
    ("name", "precision"), [("NVIDIA GeForce GTX 1060", "16-mixed"), ("NVIDIA H100", "64-true"), ("A1000", "32-true")]
)
def test_what_is_not_known_is_not_guessed(name: str, precision: str) -> None:
    assert peak_flops(name, precision=precision) is None
