"""Embeds faces and says how good each is: by the tokens of a vision transformer (ViTNT-FIQA), or by the norm of the
embedding.

Shapes: N faces, E embedding size.
"""

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from transface.evaluation.embedding.token_rater import rating_tokens
from transface.inference.face_model import FaceModel

Quality = Literal["tokens", "norm"]


class RatedFaces(NamedTuple):
    """Unit vectors (N, E), the norms (N,) before they were made so, and the quality (N,), which ranks faces of this
    model alone.
    """

    vectors: Tensor
    norms: Tensor
    quality: Tensor


def check_quality(quality: str | None) -> None:
    """Raise ValueError for a kind of quality there is not."""
    if quality is not None and quality not in get_args(Quality):
        raise ValueError(f"quality must be tokens (of a vision transformer) or norm, got {quality!r}")


def rate_faces(
    model: FaceModel, images: Any, *, quality: Quality = "tokens", num_blocks: int | None = None, **settings: Any
) -> RatedFaces:
    """Return embeddings, norms and qualities of faces, from one forward pass each.

    Args:
        images, settings: as `FaceModel.embed` takes them (points=, detector=, fit=, batch_size=, ...).
        quality: "tokens", in (0, 1), of the face as it is (with flip="sum" too); "norm", that of the embedding.
        num_blocks: of "tokens": how many blocks from the first on are compared; by default all. The publication takes
            20 of 24.

    Raises:
        ValueError: for "tokens" of a backbone that is no vision transformer, or fewer than two blocks.
    """
    check_quality(quality)
    if quality == "norm":
        found = model.embed(images, return_norms=True, **settings)
        return RatedFaces(found.vectors, found.norms, found.norms)
    with rating_tokens(model.backbone, num_blocks=num_blocks) as passes:
        found = model.embed(images, return_norms=True, **settings)
    own = passes[::2] if settings.get("flip") == "sum" else passes  # each mirrored batch follows its own
    return RatedFaces(found.vectors, found.norms, torch.cat(own) if own else torch.empty(0))
