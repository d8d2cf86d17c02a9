"""How alike two faces are: the cosine of their embeddings. From which value on they count as one person: thresholds.py.

Shapes: N and M faces, E embedding size.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from transface.inference.thresholds import Threshold, threshold

__all__ = ["Threshold", "as_rows", "similarity", "threshold", "unit_rows"]


def similarity(a: Any, b: Any, *, between: Literal["all", "rows"] = "all") -> Tensor:
    """Return the cosines of embeddings `a` (N, E) and `b` (M, E): all (N, M), or those of equal rows (N,); a scalar for
    two vectors.

    Raises:
        ValueError: if the shapes do not fit, or an embedding is zero or not finite.

    Example:
        >>> similarity(torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0]))
        tensor(0.9600)
    """
    left, right = unit_rows(a, "a"), unit_rows(b, "b")
    if left.shape[-1] != right.shape[-1]:
        raise ValueError(f"embeddings must be of one size, got {tuple(left.shape)} and {tuple(right.shape)}")
    if between not in ("all", "rows"):
        raise ValueError(f'between must be "all" or "rows", got {between!r}')
    right = right.to(left.device)
    left, right = (rows.to(torch.promote_types(left.dtype, right.dtype)) for rows in (left, right))
    if between == "rows":
        if left.shape != right.shape:
            raise ValueError(
                f"rows can be compared with equal rows only, got {tuple(left.shape)} and {tuple(right.shape)}"
            )
        return (left * right).sum(-1).clamp(-1, 1)
    return (left @ right.mT if right.ndim == 2 else left @ right).clamp(-1, 1)


def as_rows(embeddings: Any) -> Tensor:
    """Return a tensor as it is; arrays (of any strides and byte order), lists of numbers, of arrays or of tensors as a
    tensor.
    """
    if isinstance(embeddings, Tensor):
        return embeddings
    if isinstance(embeddings, list | tuple) and embeddings and all(isinstance(row, Tensor) for row in embeddings):
        return torch.stack(list(embeddings))
    rows = np.asarray(embeddings)
    first = embeddings[0] if isinstance(embeddings, list | tuple) and embeddings else embeddings
    precise = isinstance(first, np.ndarray) and rows.dtype.kind == "f" and rows.dtype.itemsize >= 8
    return torch.from_numpy(np.array(rows, np.float64 if precise else np.float32))


def unit_rows(embeddings: Any, name: str) -> Tensor:
    """Return an embedding (E,) or embeddings (N, E), of any make, as unit vectors in float32 or float64.

    Raises:
        ValueError: naming them, if they are no such numbers, or one is zero or not finite.
    """
    try:
        rows = as_rows(embeddings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be an embedding (E,) or embeddings (N, E) of numbers: {error}") from error
    rows = rows if rows.dtype == torch.float64 else rows.float()
    if rows.ndim not in (1, 2):
        raise ValueError(f"{name} must be an embedding (E,) or embeddings (N, E), got {tuple(rows.shape)}")
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    if not bool((norms.isfinite() & (norms > 0)).all()):
        raise ValueError(f"{name} holds embeddings that are zero or not finite")
    return rows / norms
