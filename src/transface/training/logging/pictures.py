"""Pictures and distributions of a run: a PNG in its folder, and the same to TensorBoard, W&B and MLflow, whichever is
on.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import ImageReadMode, decode_png


def keep_picture(name: str, png: bytes, *, folder: Path, loggers: Sequence[Logger], step: int) -> Path:
    """Write a PNG to <folder>/<name>/step-<n>.png, hand it to every logger that takes pictures, and return the file."""
    path = folder / name / f"step-{step:09d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png)
    pixels: NDArray[np.uint8] | None = None
    for logger in loggers:
        if not isinstance(logger, TensorBoardLogger | WandbLogger | MLFlowLogger):
            continue
        if pixels is None:
            pixels = as_pixels(png)
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, pixels, step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [pixels], step=step)
        else:
            logger.experiment.log_image(logger.run_id, pixels, artifact_file=f"{name}/step-{step:09d}.png")
    return path


def as_pixels(png: bytes) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) of a PNG."""
    decoded = decode_png(torch.frombuffer(bytearray(png), dtype=torch.uint8), mode=ImageReadMode.RGB)
    return np.asarray(decoded.permute(1, 2, 0).numpy(), np.uint8)


def keep_distribution(name: str, values: Tensor, *, loggers: Sequence[Logger], step: int) -> None:
    """Hand the values, on the CPU, to every logger that draws histograms of its own."""
    flat = values.detach().float().flatten().cpu().numpy()
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_histogram(name, flat, step)
        elif isinstance(logger, WandbLogger):
            wandb: Any = importlib.import_module("wandb")
            logger.log_metrics({f"{name}/distribution": wandb.Histogram(flat)}, step=step)
