"""How far an exported model is from the one it was made of: the largest difference over random and real faces, for each
output.

Shapes: N faces, E embedding size. Embeddings are compared as unit vectors and as they come, relative to their norm;
other outputs (logits, numbers, points, maps) as they come, relative to the largest where that is above 1.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from transface.backbones.features import OutputKind

BATCH_SIZES = (1, 2, 5)
Runner = Callable[[Tensor], Any]  # a tensor, or a tuple of one tensor an output


class Agreement(NamedTuple):
    """The largest difference of any number of a unit vector, the lowest cosine, and how many faces were compared."""

    max_difference: float
    min_cosine: float
    num_faces: int

    def __str__(self) -> str:
        return (
            f"largest difference {self.max_difference:.2e}, lowest cosine {self.min_cosine:.6f}, over {self.num_faces}"
            " faces"
        )


class ExportError(ValueError):
    """An exported model does not give the numbers of the one it was made of."""


def random_faces(image_size: tuple[int, int], *, num_faces: int = 8, seed: int = 0) -> Tensor:
    """Return pictures (N, 3, H, W) in [-1, 1]: half noise, half smooth, so that both ends of the frequencies are
    seen.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(num_faces, 3, *image_size, generator=generator) * 2 - 1
    coarse = torch.rand(num_faces, 3, 4, 4, generator=generator) * 2 - 1
    smooth = nn.functional.interpolate(coarse, size=image_size, mode="bicubic", align_corners=False).clamp(-1, 1)
    return torch.cat([noise[: num_faces // 2], smooth[num_faces // 2 :]])


def compare(
    original: Runner, exported: Runner, faces: Tensor, *, kinds: Sequence[OutputKind] = ("embedding",)
) -> Agreement:
    """Return the Agreement of two models over `faces` (N, 3, H, W), run in batches of 1, 2, 5 and the rest.

    Args:
        original, exported: from faces to the raw outputs.
        faces: to compare on.
        kinds: of the outputs, in their order.

    Raises:
        ExportError: if the exported model gives another shape or numbers that are not finite.
    """
    differences, cosines = [0.0], [1.0]
    for batch in _batches(faces):
        for kind, wanted, found in zip(kinds, _outputs(original(batch)), _outputs(exported(batch)), strict=True):
            if wanted.shape != found.shape:
                raise ExportError(
                    f"the exported model gives {tuple(found.shape)} for a batch of {len(batch)}, expected"
                    f" {tuple(wanted.shape)}"
                )
            if not bool(found.isfinite().all()):
                raise ExportError("the exported model gives numbers that are not finite")
            if kind != "embedding":
                differences.append(float((wanted - found).abs().max() / wanted.abs().max().clamp_min(1)))
                continue
            unit, other = nn.functional.normalize(wanted), nn.functional.normalize(found)
            scale = torch.linalg.vector_norm(wanted, dim=1, keepdim=True).clamp_min(1e-12)
            differences += [float((unit - other).abs().max()), float(((wanted - found) / scale).abs().max())]
            cosines.append(float((unit * other).sum(1).min()))
    return Agreement(max(differences), min(cosines), len(faces))


def _outputs(answer: Any) -> list[Tensor]:
    return [part.double() for part in (answer if isinstance(answer, tuple | list) else (answer,))]


def require(agreement: Agreement, tolerance: float, *, what: str) -> Agreement:
    """Return the agreement.

    Raises:
        ExportError: if the largest difference is beyond the tolerance.
    """
    if not agreement.max_difference <= tolerance:
        raise ExportError(f"{what} differs from the PyTorch model beyond the tolerance {tolerance:g}: {agreement}")
    return agreement


def _batches(faces: Tensor) -> list[Tensor]:
    parts, start = [], 0
    for size in (*BATCH_SIZES, len(faces)):
        if start < len(faces):
            parts.append(faces[start : start + size])
            start += size
    return parts
