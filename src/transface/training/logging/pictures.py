"""Pictures and distributions of a run: a PNG in its folder, and the same to TensorBoard, W&B and MLflow, whichever is
on.

What a report shows lies in <run>/pictures: <name>.png, and captions.json with the title and caption of each.
"""

import importlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import ImageReadMode, decode_png

from transface.artifacts import write_whole

log = logging.getLogger(__name__)

CAPTIONS = "captions.json"


def save_run_picture(folder: Path, name: str, png: bytes, *, title: str, caption: str) -> Path:
    """Write a PNG to <folder>/<name>.png, note its title and caption beside it, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    known = json.loads((folder / CAPTIONS).read_text(encoding="utf-8")) if (folder / CAPTIONS).is_file() else {}
    captions = known | {name: {"title": title, "caption": caption}}
    write_whole(folder / CAPTIONS, json.dumps(captions, indent=1, sort_keys=True) + "\n")
    return write_whole(folder / f"{name}.png", png)


@contextmanager
def without_costing_the_run(what: str) -> Iterator[None]:
    """Tell of a picture that cannot be drawn, and continue: the weights it is of are trained and to be saved."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        log.warning("no picture of %s: %s: %s", what, type(error).__name__, reason)


def log_picture(name: str, png: bytes, *, folder: Path, loggers: Sequence[Logger], step: int) -> Path:
    """Write a PNG to <folder>/<name>/step-<n>.png, hand it to every logger that takes pictures, and return the file."""
    path = folder / name / f"step-{step:09d}.png"
    write_whole(path, png)
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


def log_distribution(name: str, values: Tensor, *, loggers: Sequence[Logger], step: int) -> None:
    """Hand the values, on the CPU, to every logger that draws histograms of its own."""
    flat = values.detach().float().flatten().cpu().numpy()
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_histogram(name, flat, step)
        elif isinstance(logger, WandbLogger):
            wandb: Any = importlib.import_module("wandb")
            logger.log_metrics({f"{name}/distribution": wandb.Histogram(flat)}, step=step)
