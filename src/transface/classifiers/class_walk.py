"""Walks the classes in chunks: the log-sum-exp of a margin's logits and its gradients, without a (batch x classes)
buffer.

Forward keeps an online log-sum-exp; backward makes each chunk again. The gradient of the centres is written chunk by
chunk into its one buffer, through their normalisation.
Shapes: B faces, E embedding size, R classes walked, n classes of a chunk, K centres of each class (1 but for
sub-centres, whose nearest one counts), one after the other.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transface.classifiers.head_products import Precision, add_product, factor, product, products_in
from transface.margins.margin import Margin, learned_parameters


class Walk(NamedTuple):
    """What a walk over classes needs besides the embeddings.

    Attributes:
        labels: (B,) row among those walked of each face's own class, or -1 where it is not among them.
        target_cosines: (B,) cosine to the own class, a constant.
        margin: gives the logits of the others.
        chunk_size: n.
        rows: (R,) sorted, which classes of the centres are walked, or None for all.
        num_subcenters: K.
        precision: of the matrix products.
        compiled: what lies between the products goes through torch.compile, one pass over a chunk; a margin with
            learned parameters is walked without.
    """

    labels: Tensor
    target_cosines: Tensor
    margin: Margin
    chunk_size: int
    rows: Tensor | None = None
    num_subcenters: int = 1
    precision: Precision = "float32"
    compiled: bool = False


class Chunk(NamedTuple):
    """Some rows of the centres, normalised.

    Attributes:
        start: index of the first among the rows walked.
        directions: (n K, E), unit length.
        inverse_norms: (n K, 1) of the raw centres.
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


def center_rows(classes: Tensor, num_subcenters: int) -> Tensor:
    """Return the rows (... K) of the centres of classes (...), those of a class one after the other."""
    if num_subcenters == 1:
        return classes
    offsets = torch.arange(num_subcenters, device=classes.device)
    return (classes[..., None] * num_subcenters + offsets).flatten(-2)


def num_walked(centers: Tensor, walk: Walk) -> int:
    """Return R."""
    return len(centers) // walk.num_subcenters if walk.rows is None else len(walk.rows)


def is_fused(walk: Walk) -> bool:
    """Return whether chunks go through torch.compile."""
    return walk.compiled and not learned_parameters(walk.margin)


def nearest(cosines: Tensor, num_subcenters: int) -> tuple[Tensor, Tensor | None]:
    """Return the cosines (B, n) to the nearest centre of each class, of all (B, n K), and which one (B, n) that is."""
    if num_subcenters == 1:
        return cosines, None
    found = cosines.unflatten(1, (-1, num_subcenters)).max(dim=2)
    return found.values, found.indices


def to_nearest(gradients: Tensor, winners: Tensor | None, num_subcenters: int) -> Tensor:
    """Return the gradients (B, n K) of all cosines from those (B, n) of the nearest ones."""
    if winners is None:
        return gradients
    whole = gradients.new_zeros(*gradients.shape, num_subcenters)
    return whole.scatter_(2, winners[:, :, None], gradients[:, :, None]).flatten(1)


def walk_chunks(centers: Tensor, walk: Walk, dtype: torch.dtype) -> Iterator[Chunk]:
    """Yield the centres, chunk by chunk, normalised in dtype."""
    total = num_walked(centers, walk)
    each = walk.num_subcenters
    size = max(walk.chunk_size // each, 1)
    for start in range(0, total, size):
        stop = min(start + size, total)
        if walk.rows is None:
            raw = centers[start * each : stop * each]
        else:
            raw = centers.index_select(0, center_rows(walk.rows[start:stop], each))
        raw = raw.to(dtype)
        inverse_norms = torch.linalg.vector_norm(raw, dim=1, keepdim=True).clamp_min_(1e-12).reciprocal_()
        columns = walk.labels[:, None] - start
        is_here = (columns >= 0) & (columns < stop - start)
        yield Chunk(start, raw * inverse_norms, inverse_norms, columns.clamp(0, stop - start - 1), is_here)


def put_at_target(matrix: Tensor, chunk: Chunk, values: Tensor) -> None:
    """Write values (B, 1) into the own classes' places of matrix (B, n), in place, without a host synchronisation."""
    matrix.scatter_(1, chunk.columns, torch.where(chunk.is_here, values, matrix.gather(1, chunk.columns)))


def own_class(columns: Tensor, is_here: Tensor, num_classes: int) -> Tensor:
    """Return the mask (B, n) of the own classes; columns (B, 1), is_here (B, 1)."""
    return (torch.arange(num_classes, device=columns.device) == columns) & is_here


def chunk_logsumexp(
    margin: Margin, cosines: Tensor, target_cosines: Tensor, columns: Tensor, is_here: Tensor
) -> Tensor:
    """Return the log-sum-exp (B,) of the logits of cosines (B, n) to all classes but the own one."""
    own = own_class(columns, is_here, cosines.shape[1])
    return torch.logsumexp(margin.other_logits(cosines, target_cosines).masked_fill(own, -torch.inf), dim=1)


def chunk_gradients(
    margin: Margin,
    cosines: Tensor,
    target_cosines: Tensor,
    columns: Tensor,
    is_here: Tensor,
    logsumexp: Tensor,
    grad_logsumexp: Tensor,
    grad_target: Tensor,
) -> Tensor:
    """Return the gradients (B, n) of cosines (B, n) from those (B, 1) of the log-sum-exp (B, 1) and of the own class's
    cosine.
    """
    with_pull: Any = torch.func.vjp(lambda values: margin.other_logits(values, target_cosines), cosines)
    logits, pull = with_pull
    (gradients,) = pull((logits - logsumexp).exp() * grad_logsumexp)
    return torch.where(own_class(columns, is_here, cosines.shape[1]), grad_target, gradients)


@cache
def compiled(function: Any) -> Any:
    """Return a function compiled for chunks of any size, once a process."""
    return torch.compile(function, dynamic=True)


def others_logsumexp(unit_embeddings: Tensor, centers: Tensor, walk: Walk) -> Tensor:
    """Return the log-sum-exp (B,) of the logits of all classes walked but the own one; -inf where there is none."""
    total = unit_embeddings.new_full((len(unit_embeddings),), -torch.inf)
    masked = unit_embeddings.new_full((len(unit_embeddings), 1), -torch.inf)
    faces = factor(unit_embeddings, walk.precision)
    fused = is_fused(walk)
    with products_in(walk.precision, unit_embeddings.device):
        for chunk in walk_chunks(centers, walk, unit_embeddings.dtype):
            all_cosines = product(faces, factor(chunk.directions, walk.precision).T)
            cosines, _ = nearest(all_cosines, walk.num_subcenters)
            if fused:
                part = compiled(chunk_logsumexp)(
                    walk.margin, cosines, walk.target_cosines, chunk.columns, chunk.is_here
                )
            else:
                logits = walk.margin.other_logits(cosines, walk.target_cosines)
                put_at_target(logits, chunk, masked)
                part = torch.logsumexp(logits, dim=1)
            total = torch.logaddexp(total, part)
    return total


class WalkGradients(NamedTuple):
    """Gradients of a walk.

    Attributes:
        unit_embeddings: (B, E).
        centers: (R K, E) of the raw centres walked.
        parameters: of the margin's learned parameters.
    """

    unit_embeddings: Tensor
    centers: Tensor
    parameters: tuple[Tensor, ...] = ()


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
    grad_embeddings = torch.zeros_like(unit_embeddings)
    num_rows = num_walked(centers, walk) * walk.num_subcenters
    grad_centers = torch.empty(num_rows, centers.shape[1], dtype=centers.dtype, device=centers.device)
    learned = learned_parameters(walk.margin)
    grad_learned = [torch.zeros_like(parameter) for parameter in learned]
    finite = torch.where(logsumexp.isinf(), torch.zeros_like(logsumexp), logsumexp)[:, None]
    nothing = torch.zeros_like(finite)
    faces = factor(unit_embeddings, walk.precision)
    fused = is_fused(walk)
    with products_in(walk.precision, unit_embeddings.device):
        for chunk in walk_chunks(centers, walk, unit_embeddings.dtype):
            directions = factor(chunk.directions, walk.precision)
            cosines, winners = nearest(product(faces, directions.T), walk.num_subcenters)
            if fused:
                grad_cosines = compiled(chunk_gradients)(
                    walk.margin,
                    cosines,
                    walk.target_cosines,
                    chunk.columns,
                    chunk.is_here,
                    finite,
                    grad_logsumexp[:, None],
                    grad_target[:, None],
                )
            else:
                with torch.enable_grad():
                    leaf = cosines.detach().requires_grad_()
                    logits = walk.margin.other_logits(leaf, walk.target_cosines)
                share = (logits.detach() - finite).exp_().mul_(grad_logsumexp[:, None])
                if learned:
                    put_at_target(share, chunk, nothing)
                grad_cosines, *of_learned = torch.autograd.grad(logits, [leaf, *learned], share)
                for total, part in zip(grad_learned, of_learned, strict=True):
                    total.add_(part)
                put_at_target(grad_cosines, chunk, grad_target[:, None])
            grads = factor(to_nearest(grad_cosines, winners, walk.num_subcenters), walk.precision)
            add_product(grad_embeddings, grads, directions)
            grad_directions = product(grads.T, faces)
            radial = torch.linalg.vecdot(grad_directions, chunk.directions)[:, None]
            grad_directions.addcmul_(chunk.directions, radial, value=-1).mul_(chunk.inverse_norms)
            first = chunk.start * walk.num_subcenters
            grad_centers[first : first + len(grad_directions)] = grad_directions
    return WalkGradients(grad_embeddings, grad_centers, tuple(grad_learned))
