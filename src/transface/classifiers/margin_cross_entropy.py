"""Margin cross-entropy per sample, over any number of classes: no (batch x classes) buffer.

loss_b = log(exp(t_b) + sum_j exp(o_bj)) - t_b, with t the target's and o the others' logits of a margin.
The sum over others is walked in chunks.
Shapes: B faces, E embedding size, C classes.
"""

import copy
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from transface.classifiers.class_walk import (
    Walk,
    center_rows,
    default_chunk_size,
    nearest,
    others_logsumexp,
    walk_gradients,
)
from transface.classifiers.head_products import PrecisionSetting, precision_on
from transface.distributed import all_gather_rows, batch_sizes
from transface.margins.margin import CombinesTerms, Margin, RegularisesNorms, TracksBatches, learned_parameters


class Terms(NamedTuple):
    """The two numbers per face a margin cross-entropy is made of.

    Attributes:
        target_cosines: (B,).
        others_logsumexp: (B,).
    """

    target_cosines: Tensor
    others_logsumexp: Tensor


class Measured(NamedTuple):
    """Terms of a batch, and the norms (B,) of its embeddings."""

    terms: Terms
    norms: Tensor


class Shards(Protocol):
    """How the walks of several ranks over their own classes become one."""

    def join(self, logsumexp: Tensor) -> Tensor:
        """Return the log-sum-exp (B,) over the classes of all ranks."""
        ...

    def join_gradients(self, gradients: Tensor) -> Tensor:
        """Return the gradients (2, B) of the whole objective by the terms, from those of this rank's loss."""
        ...

    def sum_of_parameters(self, gradient: Tensor) -> Tensor:
        """Return the gradient of a parameter of the margin over the classes of all ranks, from that of this rank's."""
        ...


class WalkTerms(torch.autograd.Function):
    """Terms of a walk, with its gradient: forward keeps (B,) numbers only, backward walks again."""

    @staticmethod
    def forward(
        ctx: Any, unit_embeddings: Tensor, centers: Tensor, walk: Walk, shards: Shards | None, *_: Tensor
    ) -> tuple[Tensor, Tensor]:
        local = others_logsumexp(unit_embeddings, centers, walk)
        joined = local if shards is None else shards.join(local)
        ctx.save_for_backward(unit_embeddings, centers, joined)
        ctx.walk, ctx.shards = walk, shards
        return walk.target_cosines.clone(), joined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_target: Tensor, grad_logsumexp: Tensor) -> tuple[Tensor | None, ...]:
        unit_embeddings, centers, joined = ctx.saved_tensors
        if ctx.shards is not None:
            grad_target, grad_logsumexp = ctx.shards.join_gradients(torch.stack([grad_target, grad_logsumexp]))
        with torch.autocast(unit_embeddings.device.type, enabled=False):
            gradients = walk_gradients(
                unit_embeddings,
                centers,
                walk=ctx.walk,
                logsumexp=joined,
                grad_logsumexp=grad_logsumexp,
                grad_target=grad_target,
            )
        grad_centers = gradients.centers
        if ctx.walk.rows is not None:
            rows = center_rows(ctx.walk.rows, ctx.walk.num_subcenters)[None]
            grad_centers = torch.sparse_coo_tensor(
                rows, grad_centers, centers.shape, is_coalesced=True, check_invariants=False
            )
        of_learned = gradients.parameters
        if ctx.shards is not None:
            of_learned = tuple(ctx.shards.sum_of_parameters(gradient) for gradient in of_learned)
        return gradients.unit_embeddings, grad_centers, None, None, *of_learned


def working_type(*tensors: Tensor) -> torch.dtype:
    """Return float64 if any tensor is float64, else float32: half types are added up in float32."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


class UnitEmbeddings(NamedTuple):
    """Embeddings split into direction and length.

    Attributes:
        directions: (B, E).
        norms: (B,).
    """

    directions: Tensor
    norms: Tensor


def split_norms(embeddings: Tensor, dtype: torch.dtype) -> UnitEmbeddings:
    """Return directions and norms of embeddings (B, E) in dtype, with a gradient."""
    whole = embeddings.to(dtype)
    norms = torch.linalg.vector_norm(whole, dim=1)
    return UnitEmbeddings(whole / norms.clamp_min(1e-12)[:, None], norms)


@torch.no_grad()
def own_cosines(unit_embeddings: Tensor, centers: Tensor, labels: Tensor, *, num_subcenters: int = 1) -> Tensor:
    """Return the cosine (B,) of each face to its own class's centre, the nearest of K; 0 where the label is -1."""
    if not len(centers):
        return torch.zeros_like(unit_embeddings[:, 0])
    own = F.normalize(centers[center_rows(labels.clamp_min(0), num_subcenters)].to(unit_embeddings.dtype), dim=1)
    if num_subcenters > 1:
        each = torch.linalg.vecdot(unit_embeddings[:, None], own.unflatten(0, (-1, num_subcenters)))
        return nearest(each, num_subcenters)[0][:, 0] * (labels >= 0)
    return torch.linalg.vecdot(unit_embeddings, own) * (labels >= 0)


def check_labels(labels: Tensor, num_identities: int, *, num_faces: int) -> None:
    """Raise where labels are not one whole number a face, or one is no class; that is seen on the CPU only, where
    looking costs no wait.

    Raises:
        ValueError: with what came, or the offending label.
    """
    if labels.shape != (num_faces,) or labels.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"labels must be ({num_faces},) int64, one for each embedding, got {tuple(labels.shape)} {labels.dtype}"
        )
    if labels.device.type != "cpu" or not len(labels):
        return
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= num_identities:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(
            f"labels must be in 0..{num_identities - 1} (num_identities - 1), got {wrong}: check the data's labels"
        )


def frozen_margin(margin: Margin) -> Margin:
    """Return the margin as it is now: its running statistics may move again before backward walks the classes a second
    time.
    """
    module = cast(nn.Module, margin)
    return copy.deepcopy(margin) if any(True for _ in module.buffers()) else margin


def sample_losses(margin: Margin, terms: Terms, norms: Tensor) -> Tensor:
    """Return the per-sample losses (B,): softplus of (others - target), exact at both ends, plus the margin's
    regulariser of the norms.

    A margin's loss ceiling bounds their value and leaves their gradient.
    """
    target_logits = margin.target_logits(terms.target_cosines, norms)
    if isinstance(margin, CombinesTerms):
        losses = margin.combine(target_logits, terms.others_logsumexp)
    else:
        surplus = terms.others_logsumexp - target_logits
        losses = torch.logaddexp(surplus, torch.zeros_like(surplus))
    if margin.loss_ceiling is not None:
        losses = losses - (losses - margin.loss_ceiling).clamp_min(0).detach()
    return losses + margin.regulariser(norms) if isinstance(margin, RegularisesNorms) else losses


def margin_cross_entropy(
    embeddings: Tensor,
    centers: Tensor,
    *,
    labels: Tensor,
    margin: Margin,
    chunk_size: int | None = None,
    num_subcenters: int = 1,
    matmul_precision: PrecisionSetting = "float32",
) -> Tensor:
    """Return the per-sample losses (B,) of embeddings (B, E) against centres (C K, E), in float32 (float64 if either
    is); see `margin_terms`.
    """
    found = margin_terms(
        embeddings,
        centers,
        labels=labels,
        margin=margin,
        chunk_size=chunk_size,
        num_subcenters=num_subcenters,
        matmul_precision=matmul_precision,
    )
    with torch.autocast(embeddings.device.type, enabled=False):
        return sample_losses(margin, found.terms, found.norms)


def margin_terms(
    embeddings: Tensor,
    centers: Tensor,
    *,
    labels: Tensor,
    margin: Margin,
    chunk_size: int | None = None,
    num_subcenters: int = 1,
    matmul_precision: PrecisionSetting = "float32",
    compile_chunks: bool = False,
) -> Measured:
    """Return the terms of the losses of embeddings (B, E) against centres (C K, E).

    Peak memory beyond inputs and gradients: a few (B x n) and (n x E) chunks. A margin in training moves its statistics
    first.

    Raises:
        ValueError: if there is not one label for each embedding, or one is not in 0..C-1 (on the CPU).
    """
    check_labels(labels, len(centers) // num_subcenters, num_faces=len(embeddings))
    precision = precision_on(embeddings.device, matmul_precision)  # autocast is asked before it is switched off
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = split_norms(embeddings, working_type(embeddings, centers))
        target_cosines = own_cosines(unit.directions.detach(), centers, labels, num_subcenters=num_subcenters)
        if margin.training and isinstance(margin, TracksBatches):
            update_everywhere(margin, target_cosines, unit.norms.detach())
        size = chunk_size or default_chunk_size(len(embeddings), embeddings.device)
        walk = Walk(
            labels,
            target_cosines,
            frozen_margin(margin),
            size,
            num_subcenters=num_subcenters,
            precision=precision,
            compiled=compile_chunks,
        )
        terms = Terms(*WalkTerms.apply(unit.directions, centers, walk, None, *learned_parameters(margin)))
        return Measured(terms, unit.norms)


def update_everywhere(margin: TracksBatches, target_cosines: Tensor, norms: Tensor) -> None:
    """Move the margin's statistics by the faces of all ranks, so that they are the same everywhere."""
    sizes = batch_sizes(len(norms), norms.device)
    margin.update(*all_gather_rows([target_cosines, norms], sizes=sizes))
