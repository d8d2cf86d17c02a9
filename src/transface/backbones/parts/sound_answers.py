"""Refuses invalid answers: NaN, infinite, zero embeddings, one embedding for every face.

The one home of this check: whatever runs a network (evaluation, validation, the API, every verb) asks here.
Shapes: N images, E embedding size.
"""

import torch
from torch import Tensor

DIFFERENT_IMAGES = 2.0 / 127.5  # mean difference of pixels in [-1, 1] from which on two images are not the same
SAME_DIRECTION = 1e-6


class BrokenAnswersError(ValueError):
    """An answer is NaN, infinite or a zero embedding; `name` is the output's."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


def check_answers(name: str, rows: Tensor, *, of: str, is_embedding: bool = False, first: int = 0) -> Tensor:
    """Return answers (N, ...).

    Args:
        name: of the output.
        of: whose images these are.
        is_embedding: refuse zero rows too: they have no direction. Then name is not told.
        first: the index of the first image, for the message.

    Raises:
        BrokenAnswersError: naming the first image whose answer is NaN, infinite or a zero embedding.
    """
    if not len(rows):
        return rows
    flat = rows.flatten(1) if rows.ndim > 1 else rows[:, None]
    broken, words = ~torch.isfinite(flat).all(1), "NaN or infinite"
    if is_embedding and not broken.any():
        broken, words = ~flat.any(1), "zero: they have no direction"
    if broken.any():
        what = "embeddings" if is_embedding else f"answers ({name})"
        raise BrokenAnswersError(
            f"{int(broken.sum())} of {len(rows)} {what} are {words}, the first is image"
            f" {first + int(torch.argmax(broken.int()))} of {of}: broken weights, or a precision too low for them",
            name=name,
        )
    return rows


def check_told_apart(faces: Tensor, embeddings: Tensor, *, of: str) -> None:
    """Refuse a network that gives one embedding (N, E) for all of some images (N, 3, H, W) that differ.

    Raises:
        ValueError: where it does.
    """
    if len(faces) < 2:
        return
    directions = torch.nn.functional.normalize(embeddings.float())
    if not bool((directions - directions[:1]).abs().amax() <= SAME_DIRECTION):  # NaN is for check_answers
        return
    if bool(((faces - faces[:1]).abs().flatten(1).mean(1) > DIFFERENT_IMAGES).any()):
        raise ValueError(
            f"the network gives one embedding for {len(faces)} different images of {of}: its weights are broken or were"
            " never trained, and every two faces would count as one person"
        )
