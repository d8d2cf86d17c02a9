"""Amplitude mixing against results recorded from the released TransFace code."""

from pathlib import Path

import numpy as np
import torch

from transface.systems.recognition.dpap import mix_amplitudes


def test_mixed_patches_equal_the_released_ones(shared: Path) -> None:
    recorded = np.load(shared / "parity" / "transface" / "amplitude_mix.npz")
    source, reference = (torch.from_numpy(recorded[key]).permute(0, 3, 1, 2) for key in ("source", "random"))
    mixed = mix_amplitudes(source, reference, torch.from_numpy(recorded["lam"])[:, None]).permute(0, 2, 3, 1).numpy()
    truncated = np.clip(mixed, 0, 255).astype(np.uint8)
    assert np.abs(truncated.astype(int) - recorded["mixed_uint8"]).max() <= 1

    spectrum = np.fft.fft2(recorded["source"].astype(np.float64), axes=(1, 2))
    other = np.abs(np.fft.fft2(recorded["random"].astype(np.float64), axes=(1, 2)))
    ratio = recorded["lam"][:, None, None, None]
    amplitude = (1 - ratio) * np.abs(spectrum) + ratio * other
    expected = np.fft.ifft2(amplitude * np.exp(1j * np.angle(spectrum)), axes=(1, 2)).real
    assert np.abs(mixed - expected).mean() <= 1e-3
    differing = (np.clip(expected, 0, 255).astype(np.uint8) != recorded["mixed_uint8"]).sum()
    assert differing <= 3 + recorded["mixed_uint8"].size // 1000  # numbers next to a whole one, cut off on either side
