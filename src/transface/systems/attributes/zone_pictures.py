"""Where the class token of each zone looks, over the mean face; and what each exit of the network reaches and costs.

MZTS (FG 2023). Shapes: B images, M of them in all, G zones, N patches, A attributes.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from transface.backbones.parts.evaluating import evaluating
from transface.images.pixels import normalise
from transface.metrics.attribute_accuracy import attribute_counts
from transface.metrics.bootstrap import mean_interval
from transface.plots import INK, PAPER, SERIES, blank_figure, label_axes, percent_axis
from transface.systems.attributes.attribute_network import AttributeNetwork
from transface.training.flops import forward_flops


class ZoneLooks(NamedTuple):
    """The mean face (3, H, W), float in 0..255, and how much of its attention each zone's class token gives each patch
    (G, N), rows summing to one.
    """

    face: Tensor
    attention: Tensor


class Exit(NamedTuple):
    """One exit: its zone from 1, mean accuracy with its 95 % interval (None where there are too few people), operations
    of one image.
    """

    zone: int
    accuracy: float
    low: float | None
    high: float | None
    operations: int


@torch.no_grad()
def zone_looks(network: AttributeNetwork, batches: Iterable[Tensor]) -> ZoneLooks:
    """Return the mean of all images and of where the class tokens look.

    Args:
        network: any AttributeNetwork, stripped or not.
        batches: of images (B, 3, H, W), uint8.

    Raises:
        ValueError: for no images.
    """
    faces, looks, count = torch.zeros(()), torch.zeros(()), 0
    with evaluating(network):
        for images in batches:
            floats = normalise(images.to(_device(network)))
            seen = network.encoder(floats, until=network.exit, attention=True).attention
            assert seen is not None
            faces = faces + images.double().sum(0)
            looks = looks + seen.double().sum(0).cpu()
            count += len(images)
    if not count:
        raise ValueError("a mean face needs at least one image")
    return ZoneLooks(faces / count, looks / count)


@torch.no_grad()
def zone_logits(network: AttributeNetwork, batches: Iterable[Tensor]) -> NDArray[np.float32]:
    """Return the logits (M, G, A) of every zone for images (B, 3, H, W), uint8."""
    with evaluating(network):
        found = [network.zones(normalise(images.to(_device(network)))).logits.float().cpu() for images in batches]
    whole: NDArray[np.float32] = torch.cat(found).numpy()
    return whole


def exits_of(
    network: AttributeNetwork,
    logits: NDArray[np.float32],
    values: NDArray[Any],
    known: NDArray[np.bool_],
    *,
    subjects: NDArray[Any] | None = None,
) -> list[Exit]:
    """Return what each exit reaches and costs, the shallowest first.

    Args:
        logits: (M, G, A).
        values, known: (M, A) the labels.
        subjects: (M,) who is on each image: intervals draw people again.
    """
    found = []
    example = torch.zeros(1, 3, *network.image_size)
    for zone in range(logits.shape[1]):
        answers = logits[:, zone] >= 0
        right = (answers == values.astype(bool)) & known
        usable = known.any(1)
        per_image = right.sum(1)[usable] / known.sum(1)[usable]
        interval = mean_interval(per_image, subjects=None if subjects is None else subjects[usable], rate=True)
        low, high = interval or (None, None)
        accuracy = float(np.nanmean(attribute_counts(answers, values, known).accuracy()))
        operations = forward_flops(_UntilZone(network, zone + 1), example.to(_device(network)))
        found.append(Exit(zone + 1, accuracy, low, high, operations))
    return found


class _UntilZone(nn.Module):
    """A network that ends at a zone, to count what it costs."""

    def __init__(self, network: AttributeNetwork, zone: int) -> None:
        super().__init__()
        self.network, self.zone = network, zone

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.network.encoder(images, until=self.zone).tokens
        logits: Tensor = self.network.heads[f"zone_{self.zone}"](tokens[:, -1])
        return logits


def looks_figure(looks: ZoneLooks, grid_size: tuple[int, int]) -> Figure:
    """Return the mean face, and over it for each zone where its class token looks, each map on a scale of its own."""
    count = len(looks.attention)
    figure = Figure(figsize=(1.7 * (count + 1), 2.4), facecolor=PAPER)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.88, wspace=0.05)
    axes = figure.subplots(1, count + 1, squeeze=False)[0]
    face = (looks.face.permute(1, 2, 0) / 255).clamp(0, 1).numpy()
    height, width = face.shape[:2]
    grey = face.mean(2)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
    axes[0].imshow(face)
    axes[0].set_title("mean face", fontsize=9, color=INK)
    for zone, ax in enumerate(axes[1:]):
        shares = looks.attention[zone].reshape(grid_size).float().numpy()
        ax.imshow(grey, cmap="gray", vmin=0, vmax=1)
        ax.imshow(
            shares, cmap="magma", alpha=0.55, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="bilinear"
        )
        ax.set_title(f"zone {zone + 1}", fontsize=9, color=INK)
    return figure


def exits_figure(exits: Sequence[Exit], *, split: str = "") -> Figure:
    """Return accuracy with its interval over the operations of each exit."""
    figure, (ax,) = blank_figure(6.4, 4.0)
    cost = [found.operations / 1e9 for found in exits]
    values = [found.accuracy for found in exits]
    ends = [
        [max(0.0, found.accuracy - (found.accuracy if found.low is None else found.low)) for found in exits],
        [max(0.0, (found.accuracy if found.high is None else found.high) - found.accuracy) for found in exits],
    ]
    ax.errorbar(cost, values, yerr=ends, marker="o", capsize=4, linewidth=1.6, color=SERIES[0])
    for found, x in zip(exits, cost, strict=True):
        ax.annotate(
            f"zone {found.zone}: {100 * found.accuracy:.2f} %, {x:.3g} GFLOP",
            (x, found.accuracy),
            textcoords="offset points",
            xytext=(0, 9),
            fontsize=8,
            color=INK,
            ha="right" if found is exits[-1] and len(exits) > 1 else "left",
        )
    ax.set_xlim(0, max(cost) * 1.08)
    ax.margins(y=0.2)
    percent_axis(ax.yaxis)
    label_axes(ax, x="operations of one image, GFLOP", y=f"mean accuracy{f' on {split}' if split else ''}, %")
    return figure


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
