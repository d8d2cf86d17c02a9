"""Draws at the end of training where the zones look, and what each exit reaches and costs, into the run's pictures."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from transface.data.sources.attributes.attribute_set import Split
from transface.data.sources.attributes.opening import open_attributes
from transface.images.fit import Fit
from transface.images.sources import FaceFiles
from transface.plots import to_png
from transface.systems.attributes.attribute_network import AttributeNetwork
from transface.systems.attributes.zone_pictures import exits_figure, exits_of, looks_figure, zone_logits, zone_looks
from transface.training.logging.pictures import save_run_picture, without_costing_the_run

LOOKS = (
    "The mean of the validation images, and over it how much of its attention the class token of each zone gives to"
    " each place, in the last block of the zone. Each map has a scale of its own."
)
EXITS = (
    "What the network reaches where it ends at each zone, on validation images, and how many operations one image takes"
    " until there. Bars are 95 % intervals over people."
)


class ZonePictures(Callback):
    """Pictures of the last weights, on rank 0.

    Args:
        folder: of the run's pictures.
        root, without, val_identity_share, unknown: of the images, as open_attributes takes them; root None: no
            pictures.
        split: which images.
        fit: what happens to images of another size.
        num_images: at most, spread over the split.
        batch_size: images in a forward pass.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        root: str | Path | None,
        split: Split = "val",
        fit: Fit = "refuse",
        num_images: int = 1000,
        batch_size: int = 64,
        **opening: Any,
    ) -> None:
        self.folder = Path(folder)
        self.root = None if root is None else Path(root)
        self.split, self.fit, self.opening = split, fit, opening
        self.num_images, self.batch_size = num_images, batch_size

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the pictures of the weights that are evaluated; the last checkpoint is written by now."""
        network: Any = getattr(pl_module, "evaluated_network", None)
        if self.root is None or not trainer.is_global_zero or not isinstance(network, AttributeNetwork):
            return
        with without_costing_the_run("where the zones look"), trainer.precision_plugin.forward_context():
            self.draw(network)

    def draw(self, network: AttributeNetwork) -> None:
        """Write both pictures of a network.

        Raises:
            FileNotFoundError, ValueError: as open_attributes, and images that cannot be read.
        """
        assert self.root is not None
        opened = open_attributes(self.root, **self.opening)
        rows = opened.rows(self.split)
        rows = rows[:: max(1, -(-len(rows) // self.num_images))]
        height, width = network.image_size
        images = FaceFiles(self.split, [opened.root / opened.paths[row] for row in rows.tolist()], fit=self.fit)
        parts = [
            range(len(images))[start : start + self.batch_size] for start in range(0, len(images), self.batch_size)
        ]
        batches = [images.read(part, (height, width)) for part in parts]
        looks = looks_figure(zone_looks(network, batches), network.encoder.grid_size)
        save_run_picture(self.folder, "zone_attention", to_png(looks), title="Where the zones look", caption=LOOKS)
        if network.stripped:
            return
        truth = opened.labels.chosen(list(network.label_names)).take(rows.tolist())
        people = None if opened.identities is None else opened.identities[rows]
        exits = exits_of(network, zone_logits(network, batches), truth.values, truth.known, subjects=people)
        figure = exits_figure(exits, split=f"{len(rows):,} images of {self.split}")
        save_run_picture(self.folder, "exits", to_png(figure), title="Accuracy and cost by exit", caption=EXITS)
