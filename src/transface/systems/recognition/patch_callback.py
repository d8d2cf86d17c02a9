"""Draws at the end of training what the model finds dominant in faces and what DPAP makes of them, into the run's
pictures.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from transface.images.pixels import normalise
from transface.plots import to_png
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.patch_picture import dominant_patches_picture, perturbed_faces
from transface.training.logging.pictures import save_run_picture, without_costing_the_run

NUM_PATCHES = (7, 15)  # shown of a run without DPAP
CAPTION = (
    "Faces of the training data, the importance the model gives their patches, the K most important ones outlined, and"
    " the face after their Fourier amplitudes were mixed with those of other faces."
)


class PatchPictures(Callback):
    """The picture of dominant patches, on rank 0, of a backbone that ranks patches, with the run's settings of DPAP.

    Args:
        folder: of the run's pictures.
        num_faces: faces of different people shown, from the first batch that was seen.
    """

    def __init__(self, folder: str | Path, *, num_faces: int = 5) -> None:
        self.folder, self.num_faces = Path(folder), num_faces
        self._faces: Tensor | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep a few faces."""
        if self._faces is None and trainer.is_global_zero:
            first = next(iter(batch.values())) if isinstance(batch, Mapping) else batch
            self._faces = faces_of_different_people(first.images, first.labels, self.num_faces).cpu()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the picture of the weights that are evaluated; the last checkpoint is written by now."""
        if self._faces is None:
            return
        module: Any = pl_module
        with without_costing_the_run("dominant patches"), trainer.precision_plugin.forward_context():
            self.draw(module.evaluated_network, self._faces.to(module.device), module.perturbation)

    @torch.no_grad()
    def draw(self, backbone: Any, images: Tensor, perturbation: Any = None) -> None:
        """Write the picture for uint8 images (B, 3, H, W); nothing for a backbone that ranks no patches."""
        rows, columns = getattr(backbone, "grid_size", (0, 0))
        own = isinstance(perturbation, DPAP)
        counts = [k for k in ((perturbation.num_patches,) if own else NUM_PATCHES) if k <= rows * columns]
        settings = {"alpha": perturbation.alpha, "quantize": perturbation.quantize} if own else {}
        ranked = getattr(backbone, "patch_importance", None)
        if not counts or ranked is None or ranked(normalise(images[:1])) is None:
            return
        importance, perturbed = perturbed_faces(backbone, images, num_patches=counts, **settings)
        figure = dominant_patches_picture(
            images.cpu(),
            importance.float().cpu(),
            {count: faces.float().cpu() for count, faces in perturbed.items()},
            backbone.grid_size,
            backbone.patch_size,
        )
        save_run_picture(self.folder, "dominant_patches", to_png(figure), title="Dominant patches", caption=CAPTION)


def faces_of_different_people(images: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the first image of each of the first `count` labels of a batch, and of the next images where there are
    fewer labels.
    """
    seen: dict[int, int] = {}
    for place, label in enumerate(labels.tolist()):
        seen.setdefault(int(label), place)
    places = [*seen.values(), *sorted(set(range(len(images))) - set(seen.values()))]
    return images[places[:count]].clone()
