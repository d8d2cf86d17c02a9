"""Walks the classes in chunks: the log-sum-exp of a margin's logits and its gradients, without a (batch x classes)
buffer.

Forward keeps an online log-sum-exp; backward makes each chunk again. The gradient of the centres is written chunk by
chunk into its one buffer, through their normalisation.
Shapes: B faces, E embedding size, R rows of centres walked, n rows of a chunk.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from transface.margins.margin import Margin


class Walk(NamedTuple):
    """What a walk over classes needs besides the embeddings.

    Attributes:
        labels: (B,) row among those walked of each face's own class, or -1 where it is not among them.
        target_cosines: (B,) cosine to the own class, a constant.
        margin: gives the logits of the others.
        chunk_size: n.
        rows: (R,) sorted, which rows of the centres are walked, or None for all.
    """

    labels: Tensor
    target_cosines: Tensor
    margin: Margin
    chunk_size: int
    rows: Tensor | None = None


class Chunk(NamedTuple):
    """Some rows of the centres, normalised.

    Attributes:
        start: index of the first among the rows walked.
        directions: (n, E), unit length.
        inverse_norms: (n, 1) of the raw centres.
        columns: (B, 1) the own class's column in this chunk, any column where it is elsewhere.
        is_here: (B, 1) whether the own class is in this chunk.
    """

    start: int
    directions: Tensor
    inverse_norms: Tensor
    columns: Tensor
    is_here: Tensor


def default_chunk_size(num_faces: int, device: torch.device) -> int:
    """Return how many classes to walk at once: (B x n) float32 is 4 MiB on the CPU, 256 MiB on an accelerator.

    Never below 256 or above 65,536, a multiple of 64.
    4 MiB stay in the caches: on 2 cores n = 1,024 for B = 1,024 was the fastest of 512 to 8,192.
    """
    budget = (4 if device.type == "cpu" else 256) * 2**18
    return max(256, min(65536, budget // max(num_faces, 1) // 64 * 64))


def walk_chunks(centers: Tensor, walk: Walk, dtype: torch.dtype) -> Iterator[Chunk]:
    """Yield the centres, chunk by chunk, normalised in dtype."""
    total = len(centers) if walk.rows is None else len(walk.rows)
    for start in range(0, total, walk.chunk_size):
        stop = min(start + walk.chunk_size, total)
        raw = centers[start:stop] if walk.rows is None else centers.index_select(0, walk.rows[start:stop])
        raw = raw.to(dtype)
        inverse_norms = torch.linalg.vector_norm(raw, dim=1, keepdim=True).clamp_min_(1e-12).reciprocal_()
        columns = walk.labels[:, None] - start
        is_here = (columns >= 0) & (columns < stop - start)
        yield Chunk(start, raw * inverse_norms, inverse_norms, columns.clamp(0, stop - start - 1), is_here)


def put_at_target(matrix: Tensor, chunk: Chunk, values: Tensor) -> None:
    """Write values (B, 1) into the own classes' places of matrix (B, n), in place, without a host synchronisation."""
    matrix.scatter_(1, chunk.columns, torch.where(chunk.is_here, values, matrix.gather(1, chunk.columns)))


def others_logsumexp(unit_embeddings: Tensor, centers: Tensor, walk: Walk) -> Tensor:
    """Return the log-sum-exp (B,) of the logits of all classes walked but the own one; -inf where there is none."""
    total = unit_embeddings.new_full((len(unit_embeddings),), -torch.inf)
    masked = unit_embeddings.new_full((len(unit_embeddings), 1), -torch.inf)
    for chunk in walk_chunks(centers, walk, unit_embeddings.dtype):
        logits = walk.margin.other_logits(unit_embeddings @ chunk.directions.T, walk.target_cosines)
        put_at_target(logits, chunk, masked)
        total = torch.logaddexp(total, torch.logsumexp(logits, dim=1))
    return total


class WalkGradients(NamedTuple):
    """Gradients of a walk.

    Attributes:
        unit_embeddings: (B, E).
        centers: (R, E) of the raw centres walked.
    """

    unit_embeddings: Tensor
    centers: Tensor


def walk_gradients(
    unit_embeddings: Tensor,
    centers: Tensor,
    *,
    walk: Walk,
    logsumexp: Tensor,
    grad_logsumexp: Tensor,
    grad_target: Tensor,
) -> WalkGradients:
    """Return the gradients of sum(grad_logsumexp * logsumexp + grad_target * target_cosines).

    logsumexp (B,) may be that of more classes than are walked here. A target's gradient takes the place of
    its masked entry in the chunk's gradient, so both terms share the two matrix products.
    """
    rows = len(centers) if walk.rows is None else len(walk.rows)
    grad_embeddings = torch.zeros_like(unit_embeddings)
    grad_centers = torch.empty(rows, centers.shape[1], dtype=centers.dtype, device=centers.device)
    finite = torch.where(logsumexp.isinf(), torch.zeros_like(logsumexp), logsumexp)[:, None]
    for chunk in walk_chunks(centers, walk, unit_embeddings.dtype):
        cosines = unit_embeddings @ chunk.directions.T
        with torch.enable_grad():
            leaf = cosines.detach().requires_grad_()
            logits = walk.margin.other_logits(leaf, walk.target_cosines)
        share = (logits.detach() - finite).exp_().mul_(grad_logsumexp[:, None])
        (grad_cosines,) = torch.autograd.grad(logits, leaf, share)
        put_at_target(grad_cosines, chunk, grad_target[:, None])
        grad_embeddings.addmm_(grad_cosines, chunk.directions)
        grad_directions = grad_cosines.T @ unit_embeddings
        radial = torch.linalg.vecdot(grad_directions, chunk.directions)[:, None]
        grad_directions.addcmul_(chunk.directions, radial, value=-1).mul_(chunk.inverse_norms)
        grad_centers[chunk.start : chunk.start + len(grad_directions)] = grad_directions
    return WalkGradients(grad_embeddings, grad_centers)
