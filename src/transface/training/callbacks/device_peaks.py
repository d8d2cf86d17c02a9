"""What devices can do at most, from their makers' sheets: dense matrix products, without sparsity."""

from typing import NamedTuple


class Peak(NamedTuple):
    """Tera-operations per second by precision; 0 where the device has no units for it."""

    half: float
    tf32: float
    single: float


# By a part of torch.cuda.get_device_name(); a longer name stands before a shorter one that it contains.
PEAKS: dict[str, Peak] = {
    "B200": Peak(2250.0, 1125.0, 75.0),
    "GH200": Peak(989.4, 494.7, 66.9),
    "H200": Peak(989.4, 494.7, 66.9),
    "H100 PCIe": Peak(756.0, 378.0, 51.2),
    "H100 NVL": Peak(835.0, 417.5, 60.0),
    "H100": Peak(989.4, 494.7, 66.9),
    "A100": Peak(312.0, 156.0, 19.5),
    "A40": Peak(149.7, 74.8, 37.4),
    "A30": Peak(165.0, 82.0, 10.3),
    "A10": Peak(125.0, 62.5, 31.2),
    "L40S": Peak(362.0, 183.0, 91.6),
    "L4": Peak(121.0, 60.0, 30.3),
    "V100": Peak(125.0, 0.0, 15.7),
    "T4": Peak(65.0, 0.0, 8.1),
    "RTX 4090": Peak(165.2, 82.6, 82.6),
    "RTX 3090": Peak(71.0, 35.6, 35.6),
    "MI300X": Peak(1307.4, 653.7, 163.4),
    "MI250X": Peak(383.0, 0.0, 47.9),
}


def peak_flops(device_name: str, *, precision: str, tf32: bool = False) -> float | None:
    """Return the most floating-point operations a second of a device in a precision ("16-mixed", "bf16-true",
    "32-true", ...).

    None for a device that is not in the table, or a precision it does not offer.
    """
    peak = next((peak for name, peak in PEAKS.items() if _names(name, device_name)), None)
    if peak is None:
        return None
    rate = (
        peak.half
        if "16" in precision
        else (peak.tf32 if tf32 and peak.tf32 else peak.single)
        if "32" in precision
        else 0.0
    )
    return rate * 1e12 or None


def _names(name: str, device_name: str) -> bool:
    return f" {name} " in f" {device_name.replace('-', ' ')} "
