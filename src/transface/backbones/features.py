"""The contract between a backbone and all that follows: FaceFeatures, and what a backbone promises.

Shapes: B faces, E embedding size, N patches (tokens), D token width.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


def check_embedding_size(embedding_size: int) -> int:
    """Return the size of an embedding.

    Raises:
        ValueError: if it is below 1.
    """
    if embedding_size < 1:
        raise ValueError(f"embedding_size must be at least 1, got {embedding_size}")
    return embedding_size


class FaceFeatures(NamedTuple):
    """What a backbone makes of a batch of faces.

    Attributes:
        embedding: (B, E), not normalised.
        tokens: (B, N, D) local tokens, already multiplied by their gate, or None if the backbone has none.
        patch_importance: (B, N), higher is more dominant, or None if the backbone ranks no patches.
        layer_tokens: tokens after chosen blocks, each (B, N, D), or None.
    """

    embedding: Tensor
    tokens: Tensor | None = None
    patch_importance: Tensor | None = None
    layer_tokens: tuple[Tensor, ...] | None = None


@runtime_checkable
class Backbone(Protocol):
    """What every backbone (an nn.Module) offers.

    Attributes:
        embedding_size: E.
        image_size: height and width in pixels of the images it takes.
        patch_size: side of a patch in pixels, or 0 if it has no tokens.
        grid_size: rows and columns of patches, or (0, 0).

    Calling it with images (B, 3, H, W), RGB float in [-1, 1], returns FaceFeatures.
    """

    embedding_size: int
    image_size: tuple[int, int]
    patch_size: int
    grid_size: tuple[int, int]

    def __call__(self, images: Tensor) -> FaceFeatures: ...

    def patch_importance(self, images: Tensor) -> Tensor | None:
        """Return (B, N) what ranks the patches, in the order of FaceFeatures.patch_importance and without its saturation, or None; no neck is run."""
        ...


def image_sides(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width in pixels, given as one side or as both.

    Raises:
        ValueError: for another number of sides, or one below 1.
    """
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"image_size must be one side or (height, width) in pixels, got {image_size}")
    return sides[0], sides[1]
