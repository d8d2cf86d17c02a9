"""All pairs of a gallery on one sheet, for formats that show one picture at a time."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from transface.plots import FAINT, PAPER
from transface.reports.page.document import Gallery


def contact_sheet(gallery: Gallery, *, columns: int = 4) -> Figure:
    """Return the sheet as a figure."""
    columns = min(columns, len(gallery.pairs))
    rows = -(-len(gallery.pairs) // columns)
    figure = Figure(figsize=(2.1 * columns, 1.3 * rows), facecolor=PAPER)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, 252 * columns), ylim=(156 * rows, 0))
    ax.set_axis_off()
    for index, pair in enumerate(gallery.pairs):
        x, y = 252 * (index % columns) + 12, 156 * (index // columns) + 32
        ax.imshow(beside(pair.images), extent=(x, x + 228, y + 112, y), interpolation="nearest")
        ax.text(x, y - 8, pair.caption, fontsize=8, color=FAINT)
    ax.set(xlim=(0, 252 * columns), ylim=(156 * rows, 0), aspect="equal")
    return figure


def beside(images: Sequence[bytes], size: int = 112) -> Any:
    """Return the images of a pair in one uint8 array, a white line between; a missing one is grey."""
    faces = [np.full((size, size, 3), 200, np.uint8) for _ in images]
    for index, image in enumerate(images):
        if image:
            faces[index] = np.asarray(Image.open(io.BytesIO(image)).convert("RGB").resize((size, size)), np.uint8)
    gap = np.full((size, 4, 3), 254, np.uint8)
    return np.concatenate([part for face in faces for part in (face, gap)][:-1], axis=1)
