"""Pictures of the method at work during training: distributions, dominant patches over the mean face, faces before and
after DPAP.

Shapes: B faces, N patches.
"""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from transface.plots import PAPER, SERIES, blank_figure, label_axes, to_png
from transface.systems.recognition.dpap import dominant_patches
from transface.systems.recognition.method_view import MethodView
from transface.systems.recognition.patch_picture import as_pixels, dominant_patches_picture, show, show_importance

LABELS = {
    "token_entropy": "mean token entropy of a face",
    "gate": "gate of a patch",
    "ehsm_weight": "EHSM weight of a face",
    "center_cosine": "cosine with the class centre",
    "embedding_norm": "norm of the embedding",
}
DEFAULT_NUM_PATCHES = 7


def method_pictures(view: MethodView, *, num_faces: int = 4, dpi: int = 80) -> dict[str, bytes]:
    """Return PNGs by name: distributions; dominant_patches and perturbed_faces where the backbone ranks patches.

    Args:
        view: what MethodObserver saw.
        num_faces: faces shown before and after DPAP.
        dpi: dots an inch.
    """
    figures = {"distributions": distributions_figure(view)}
    if view.ranking is not None:
        figures["dominant_patches"] = heat_map_figure(view.images, view.ranking, view)
        if view.perturbed is not None and view.num_patches is not None:
            shown = {view.num_patches: view.perturbed[:num_faces]}
            figures["perturbed_faces"] = dominant_patches_picture(
                view.images[:num_faces].cpu(),
                view.ranking[:num_faces].float().cpu(),
                shown,
                view.grid_size,
                view.patch_size,
            )
    return {name: to_png(figure, dpi=dpi) for name, figure in figures.items()}


def distributions_figure(view: MethodView, *, num_bins: int = 40) -> Figure:
    """Return a figure with a histogram of each quantity of the view."""
    named = view.distributions()
    figure, axes = blank_figure(3.3 * len(named), 2.8, columns=len(named))
    for index, (name, values) in enumerate(named.items()):
        axes[index].hist(values.numpy(), bins=num_bins, color=SERIES[index % len(SERIES)])
        label_axes(
            axes[index], x=LABELS[name], y="count" if index == 0 else "", title=f"mean {float(values.mean()):.4g}"
        )
    return figure


def heat_map_figure(images: Tensor, ranking: Tensor, view: MethodView) -> Figure:
    """Return how often each patch is among the K most important ones, over the mean of the faces."""
    frequency = dominance(ranking, view.num_patches or DEFAULT_NUM_PATCHES)
    mean_face = as_pixels(images.float().mean(dim=0, keepdim=True).round().to(torch.uint8))[0]
    figure = Figure(figsize=(5.2, 2.8), facecolor=PAPER)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.88, wspace=0.03)
    left, right = figure.subplots(1, 2)
    for ax in (left, right):
        show(ax, mean_face)
    show_importance(right, frequency, view.grid_size, view.patch_size)
    left.set_title(f"mean of {len(images)} faces", fontsize=9)
    right.set_title(f"dominant patches, at most {100 * float(frequency.max()):.0f} % of faces", fontsize=9)
    return figure


def dominance(ranking: Tensor, num_patches: int) -> Tensor:
    """Return the share (N,) of faces that have each patch among their K most important, of what ranks them (B, N)."""
    chosen = dominant_patches(ranking.float().cpu(), min(num_patches, ranking.shape[1]))
    return torch.zeros(len(ranking), ranking.shape[1]).scatter_(1, chosen, 1.0).mean(dim=0)
