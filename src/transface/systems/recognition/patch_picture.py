"""The picture of DPAP at work: the face, how important its patches are, the chosen ones outlined, the face after the
change.

Shapes: B faces, N = rows * columns patches, K chosen patches.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from transface.backbones.features import Backbone
from transface.images.pixels import normalise, to_uint8
from transface.plots import INK, PAPER
from transface.systems.recognition.dpap import DPAP, dominant_patches, score_patches

OUTLINE = "#ffd400"


def dominant_patches_picture(
    images: Tensor, importance: Tensor, perturbed: Mapping[int, Tensor], grid_size: tuple[int, int], patch_size: int
) -> Figure:
    """Return a figure with a row a face: original, importance, then for each K the chosen patches and the perturbed
    face.

    Args:
        images: (B, 3, H, W) uint8 RGB.
        importance: (B, N), higher is more dominant.
        perturbed: K -> (B, 3, H, W), uint8, or float in [-1, 1].
        grid_size: rows and columns of patches.
        patch_size: side of a patch in pixels.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    check_parts(images, importance, perturbed, grid_size)
    rows, columns = len(images), 2 + 2 * len(perturbed)
    figure = Figure(figsize=(1.35 * columns, 1.35 * rows + 0.3), facecolor=PAPER)
    figure.subplots_adjust(
        left=0.005, right=0.995, bottom=0.005, top=1 - 0.3 / (1.35 * rows + 0.3), wspace=0.03, hspace=0.03
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    originals = as_pixels(images)
    for row in range(rows):
        show(grid[row][0], originals[row])
        show(grid[row][1], originals[row])
        show_importance(grid[row][1], importance[row], grid_size, patch_size)
        for index, (num_patches, changed) in enumerate(perturbed.items()):
            chosen = dominant_patches(importance[row : row + 1], num_patches)[0].tolist()
            show(grid[row][2 + 2 * index], originals[row])
            outline(grid[row][2 + 2 * index], chosen, grid_size, patch_size)
            show(grid[row][3 + 2 * index], as_pixels(changed[row : row + 1])[0])
    titles = ["original", "importance", *(word for k in perturbed for word in (f"{k} dominant", f"perturbed, K = {k}"))]
    for ax, title in zip(grid[0], titles, strict=True):
        ax.set_title(title, fontsize=9, color=INK)
    return figure


def perturbed_faces(
    backbone: Backbone,
    images: Tensor,
    *,
    num_patches: Sequence[int] = (7, 15),
    seed: int = 0,
    alpha: float = 1.0,
    quantize: bool = False,
) -> tuple[Tensor, dict[int, Tensor]]:
    """Return the importance (B, N) of the patches of uint8 images (B, 3, H, W), and the images after DPAP for each K.

    Every image is perturbed, with DPAP's alpha and quantize. Numbers of patches the backbone lacks are left out.
    """
    floats = normalise(images)
    importance = score_patches(backbone, floats)
    perturbed = {}
    for k in num_patches:
        if k <= importance.shape[1]:
            dpap = DPAP(num_patches=k, probability=1.0, alpha=alpha, quantize=quantize, scoring_precision=None)
            perturbed[k] = dpap(floats, backbone, generator=torch.Generator(images.device).manual_seed(seed))
    return importance, perturbed


def check_parts(
    images: Tensor, importance: Tensor, perturbed: Mapping[int, Tensor], grid_size: tuple[int, int]
) -> None:
    """Raise ValueError if the parts of a picture do not fit together."""
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8 or len(images) == 0:
        raise ValueError(f"images must be (B, 3, H, W) uint8 with B > 0, got {tuple(images.shape)} {images.dtype}")
    if importance.shape != (len(images), grid_size[0] * grid_size[1]):
        raise ValueError(
            f"importance must be ({len(images)}, {grid_size[0] * grid_size[1]}), got {tuple(importance.shape)}"
        )
    for k, changed in perturbed.items():
        if changed.shape != images.shape:
            raise ValueError(
                f"perturbed[{k}] must be {tuple(images.shape)} like the images, got {tuple(changed.shape)}"
            )


def as_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Return (B, H, W, 3) uint8 of images (B, 3, H, W), uint8 or float in [-1, 1]."""
    if images.is_floating_point():
        images = to_uint8(images.float())
    return np.asarray(images.detach().cpu().permute(0, 2, 3, 1).numpy(), np.uint8)


def show(ax: Axes, pixels: NDArray[np.uint8]) -> None:
    """Draw an image with nothing around it, a pixel a unit."""
    height, width = pixels.shape[:2]
    ax.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def show_importance(ax: Axes, importance: Tensor, grid_size: tuple[int, int], patch_size: int) -> None:
    """Lay the importance over an image, each face on its own scale; pixels outside the grid stay bare."""
    heat = importance.detach().float().cpu().reshape(grid_size).numpy()
    spread = heat.max() - heat.min()
    heat = (heat - heat.min()) / (spread if spread > 0 else 1)
    ax.imshow(
        heat,
        extent=(0, grid_size[1] * patch_size, grid_size[0] * patch_size, 0),
        cmap="magma",
        alpha=0.72,
        interpolation="nearest",
    )


def outline(ax: Axes, chosen: list[int], grid_size: tuple[int, int], patch_size: int) -> None:
    """Outline chosen patches, a side between two chosen ones left out."""
    segments = [[(x * patch_size, y * patch_size) for x, y in side] for side in outer_sides(set(chosen), grid_size[1])]
    ax.add_collection(LineCollection(segments, colors="black", linewidths=2.6, capstyle="projecting"))
    ax.add_collection(LineCollection(segments, colors=OUTLINE, linewidths=1.4, capstyle="projecting"))


def outer_sides(chosen: set[int], columns: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the sides ((x, y), (x, y)), in patches, that have a chosen patch on one side only."""
    sides = []
    for cell in sorted(chosen):
        y, x = divmod(cell, columns)
        neighbours = (
            (cell - columns, ((x, y), (x + 1, y))),
            (cell + columns, ((x, y + 1), (x + 1, y + 1))),
            (cell - 1 if x > 0 else -1, ((x, y), (x, y + 1))),
            (cell + 1 if x + 1 < columns else -1, ((x + 1, y), (x + 1, y + 1))),
        )
        sides += [side for neighbour, side in neighbours if neighbour not in chosen]
    return sides
