"""How alike two faces are (cosine), and from which value on they count as one person (threshold for a chosen FAR).

Shapes: N and M faces, E embedding size.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from transface.evaluation.results import Result, read_arrays, read_result

FEW_IMPOSTORS = 10


class Threshold(NamedTuple):
    """The lowest cosine at which a set of pairs keeps a false accept rate.

    Attributes:
        cosine: pairs at and above it count as one person.
        far: the false accept rate there, at most the one asked for.
        tar: the true accept rate there.
        num_impostors: impostor pairs it was measured on.
        warning: why not to trust it, or "".
    """

    cosine: float
    far: float
    tar: float
    num_impostors: int
    warning: str = ""


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


def threshold(result: Result | str | Path, far: float = 1e-3) -> Threshold:
    """Return the threshold at which the pairs of a verification result have at most the false accept rate `far`.

    It is exact where the scores (.npz) lie beside the result's JSON, else the nearest stricter point of its ROC curve.

    Raises:
        FileNotFoundError: if there is no such result.
        ValueError: if the result has no pairs, or too few impostors to measure `far` (fewer than 1 / far).
    """
    if not 0 < far <= 1:
        raise ValueError(f"far must be in (0, 1], got {far}")
    found = result if isinstance(result, Result) else read_result(result)
    arrays = read_arrays(found)
    if "scores" in arrays and "is_same" in arrays:
        return _from_scores(arrays["scores"], arrays["is_same"].astype(bool), far)
    if found.roc is None:
        raise ValueError(
            f"the result {found.stem} has neither scores nor a ROC curve: thresholds come from verification results"
        )
    return _from_curve(found, far)


def _from_scores(scores: Any, is_same: Any, far: float) -> Threshold:
    impostors, genuine = np.sort(scores[~is_same]), np.sort(scores[is_same])
    _check_count(len(impostors), far)
    # The largest number of accepted impostors within the rate; ties at the threshold are accepted together.
    allowed = int(np.floor(far * len(impostors) * (1 + 1e-12)))
    if allowed >= len(impostors):
        cosine = float(min(impostors[0], genuine[0]) if len(genuine) else impostors[0])
    else:
        cosine = float(np.nextafter(impostors[len(impostors) - allowed - 1], np.inf, dtype=impostors.dtype))
    accepted = len(impostors) - int(np.searchsorted(impostors, cosine, side="left"))
    passed = len(genuine) - int(np.searchsorted(genuine, cosine, side="left"))
    return Threshold(
        cosine, accepted / len(impostors), passed / max(len(genuine), 1), len(impostors), _warning(len(impostors), far)
    )


def _from_curve(result: Result, far: float) -> Threshold:
    assert result.roc is not None
    num_impostors = result.counts.get("impostor", 0)
    _check_count(num_impostors, far)
    points = [
        point for point in zip(result.roc.far, result.roc.tar, result.roc.threshold, strict=True) if point[0] <= far
    ]
    if not points:
        raise ValueError(
            f"the ROC curve of {result.stem} begins at a FAR of {min(result.roc.far):g}, above the {far:g} asked for"
        )
    reached, tar, cosine = max(points, key=lambda point: (point[0], point[1]))
    return Threshold(cosine, reached, tar, num_impostors, _warning(num_impostors, far))


def _check_count(num_impostors: int, far: float) -> None:
    if num_impostors * far * (1 + 1e-12) < 1:
        raise ValueError(
            f"a FAR of {far:g} needs at least {round(1 / far)} impostor pairs, the result has {num_impostors}"
        )


def _warning(num_impostors: int, far: float) -> str:
    behind = int(num_impostors * far)
    return f"only {behind} impostor pairs stand behind this threshold" if behind < FEW_IMPOSTORS else ""


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
