"""Seeing the method work: token entropy, gate, EHSM weights, cosines, norms and pictures over training, to every logger
and as PNG.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from transface.data.batches import FaceBatch
from transface.seeds import step_seed
from transface.systems.recognition.method_view import MethodView, look
from transface.training.logging.pictures import log_distribution, log_picture

Painter = Callable[[MethodView], Mapping[str, bytes]]


class MethodObserver(Callback):
    """Looks at the first faces of a batch every so many optimizer steps, on rank 0, and changes nothing of the
    training.

    Logged: method/<quantity>_mean and method/<quantity>_spread of token_entropy, gate, ehsm_weight, center_cosine,
    embedding_norm, and their distributions. A look costs one forward of `num_faces` images without gradient; drawing
    about half a second.

    Args:
        folder: pictures go to <folder>/<name>/step-<n>.png.
        every_n_steps: optimizer steps between looks; the first is at the start.
        pictures_every_n_steps: optimizer steps between pictures, a multiple of every_n_steps.
        num_faces: faces looked at, at most a batch of one device.
        painter: makes PNGs by name of a view; None: no pictures.
        seed: of DPAP's draws for the pictures.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every_n_steps: int = 200,
        pictures_every_n_steps: int = 1000,
        num_faces: int = 64,
        painter: Painter | None = None,
        seed: int = 0,
    ) -> None:
        if min(every_n_steps, pictures_every_n_steps, num_faces) < 1:
            raise ValueError(
                f"every_n_steps, pictures_every_n_steps and num_faces must be at least 1, got {every_n_steps},"
                f" {pictures_every_n_steps}, {num_faces}"
            )
        if pictures_every_n_steps % every_n_steps:
            raise ValueError(
                f"pictures_every_n_steps must be a multiple of every_n_steps={every_n_steps}, got"
                f" {pictures_every_n_steps}"
            )
        self.folder, self.painter, self.seed = Path(folder), painter, seed
        self.every_n_steps, self.pictures_every_n_steps, self.num_faces = (
            every_n_steps,
            pictures_every_n_steps,
            num_faces,
        )
        self._looked_at = -1

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: FaceBatch, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._looked_at or step % self.every_n_steps or not trainer.is_global_zero:
            return
        self._looked_at = step
        view = self.view(trainer, pl_module, batch)
        distributions = view.distributions()
        for logger in trainer.loggers:
            logger.log_metrics(summary(distributions), step=step)
        for name, values in distributions.items():
            log_distribution(f"method/{name}", values, loggers=trainer.loggers, step=step)
        if self.painter is not None and step % self.pictures_every_n_steps == 0:
            for name, png in self.painter(view).items():
                log_picture(name, png, folder=self.folder, loggers=trainer.loggers, step=step)

    def view(self, trainer: Trainer, module: Any, batch: FaceBatch) -> MethodView:
        """Return the look at the first faces of a batch."""
        generator = torch.Generator(module.device)
        generator.manual_seed(step_seed(self.seed, epoch=0, batch=trainer.global_step, rank=0))
        with trainer.precision_plugin.forward_context():
            return look(
                batch.images[: self.num_faces],
                batch.labels[: self.num_faces],
                backbone=module.backbone,
                classifier=module.classifier,
                perturbation=module.perturbation,
                weighting=module.weighting,
                generator=generator,
            )


def summary(distributions: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the mean and the spread (standard deviation) of each named distribution, as metrics."""
    metrics = {}
    for name, values in distributions.items():
        metrics[f"method/{name}_mean"] = float(values.mean())
        metrics[f"method/{name}_spread"] = float(values.std(correction=0))
    return metrics
