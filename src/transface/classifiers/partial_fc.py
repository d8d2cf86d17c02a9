"""partial_fc: class centres split by class range over ranks, and a share of the other classes sampled each step.

The faces of all ranks are gathered, each rank walks its own classes, the softmax is joined by an all-reduce of maximum
and sum. Well-known as Partial FC (CVPR 2022, arXiv 2203.15565). Memory and traffic: docs/scaling.md.
Shapes: B faces of this rank, G faces of all ranks, E embedding size, C identities, R of them on this rank, W ranks.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from transface.classifiers.center_shards import ShardRange, check_sizes, first_centers, shard_range
from transface.classifiers.class_walk import Walk, default_chunk_size
from transface.classifiers.head_products import Precision, PrecisionSetting, check_precision, precision_on
from transface.classifiers.margin_cross_entropy import (
    Measured,
    Terms,
    WalkTerms,
    check_labels,
    frozen_margin,
    own_cosines,
    sample_losses,
    split_norms,
    working_type,
)
from transface.distributed import all_reduce_max, all_reduce_sum, batch_sizes, gather_faces, rank, world_size
from transface.margins.margin import Margin, TracksBatches, learned_parameters
from transface.seeds import seed_from
from transface.shapes import check_shape


class PartialFC(nn.Module):
    """Per-sample margin cross-entropy with centres split over ranks; on one process it needs no process group.

    In training with sample_rate < 1 a step's softmax has the own classes of all faces of all ranks, and random others
    up to int(sample_rate * C) classes in all. The draw follows from (seed, draws so far) and no rank, so any number of
    ranks samples the same classes, and each rank keeps its share of them. The centres' gradient is then sparse, with
    rows for the sampled classes: step it with transface.training.optimization.optimizers, which move those rows only.

    Gradients are those of the mean over the faces of all ranks when each rank calls backward on
    distributed.global_mean(losses), or on losses.mean() where all batches have the same size, and when DDP averages the
    backbone's gradients and leaves the centres alone.

    Args:
        num_identities: C.
        embedding_size: E.
        margin: a module of transface.margins.
        sample_rate: share of the classes in a training step's softmax, in (0, 1].
        chunk_size: how many classes are walked at once, or None for what suits the device.
        num_subcenters, matmul_precision, compile_chunks: as FullSoftmax has them.
        seed: of the first centres (normal, standard deviation .01) and of the draws.

    Attributes:
        centers: (R K, E), the rows of this rank's classes, K sub-centres each.
        classes: which classes those are.

    Raises:
        ValueError: if a size or the rate is out of range.
    """

    sharded_parameters = ("centers",)

    def __init__(
        self,
        num_identities: int,
        embedding_size: int,
        margin: Margin,
        *,
        sample_rate: float = 1.0,
        chunk_size: int | None = None,
        num_subcenters: int = 1,
        matmul_precision: PrecisionSetting = "auto",
        compile_chunks: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(num_identities, embedding_size, chunk_size=chunk_size, num_subcenters=num_subcenters)
        self.num_subcenters = num_subcenters
        self.matmul_precision = check_precision(matmul_precision)
        self.compile_chunks = compile_chunks
        self.num_identities, self.embedding_size, self.chunk_size = num_identities, embedding_size, chunk_size
        self.margin, self.sample_rate, self.seed = margin, sample_rate, seed
        self.num_draws = 0
        self.classes = shard_range(num_identities, world_size(), rank=rank())
        self.centers = nn.Parameter(first_centers(*self.rows, embedding_size=embedding_size, seed=seed))

    @property
    def sample_rate(self) -> float:
        """The share of the classes in a training step's softmax; it may be set between two steps."""
        return self._sample_rate

    @sample_rate.setter
    def sample_rate(self, rate: float) -> None:
        if not 0 < rate <= 1:
            raise ValueError(f"sample_rate must be above 0 and at most 1, got {rate}")
        self._sample_rate = rate

    def place(self) -> None:
        """Keep only the centres of this rank, if the process group came up after the constructor. Call it before the
        optimizer is made.

        Raises:
            RuntimeError: if this rank's classes are not among those held.
        """
        wanted = shard_range(self.num_identities, world_size(), rank=rank())
        if wanted == self.classes:
            return
        if wanted.start < self.classes.start or wanted.stop > self.classes.stop:
            raise RuntimeError(
                f"this rank holds the centres of classes {self.classes} and needs {wanted}: load them from a checkpoint"
            )
        first = (wanted.start - self.classes.start) * self.num_subcenters
        last = (wanted.stop - self.classes.start) * self.num_subcenters
        rows = self.centers.detach()[first:last].clone()
        self.centers, self.classes = nn.Parameter(rows), wanted

    @property
    def rows(self) -> ShardRange:
        """The rows of the whole table of centres that this rank holds: those of its classes."""
        return ShardRange(self.classes.start * self.num_subcenters, self.classes.stop * self.num_subcenters)

    @property
    def num_rows(self) -> int:
        """The rows of the whole table of centres: of the classes of all ranks."""
        return self.num_identities * self.num_subcenters

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Raise where centres are sampled and the optimizer would fail at their sparse gradient, or move the other rows
        too.

        Raises:
            ValueError: naming optimizers that do.
        """
        if self.sample_rate < 1 and not getattr(optimizer, "steps_sampled_rows", False):
            kind = f"{type(optimizer).__module__}.{type(optimizer).__name__}"
            raise ValueError(
                f"sample_rate below 1 needs an optimizer that moves the sampled centres alone, {kind} does not: take"
                " AdamW or SGD of transface.training.optimization.optimizers, or put SampledRows before its class"
            )

    def sample(self, labels: Tensor) -> Tensor | None:
        """Return the classes (S,) of the next training step's softmax, sorted, for labels (G,) of all ranks; None means
        all of them.

        Random priorities decide: the own classes come first, then the others with the highest.
        """
        if not self.training or self.sample_rate == 1:
            return None
        generator = torch.Generator(labels.device).manual_seed(seed_from("classes", self.seed, self.num_draws))
        self.num_draws += 1
        priorities = torch.rand(self.num_identities, generator=generator, device=labels.device)
        own = torch.zeros(self.num_identities, dtype=torch.bool, device=labels.device).index_fill_(0, labels, True)
        wanted = max(int(self.sample_rate * self.num_identities), int(own.sum()))
        priorities[own] = 2.0
        return torch.topk(priorities, wanted).indices.sort().values

    def forward(self, embeddings: Tensor, labels: Tensor, *, classes: Tensor | None = None) -> Tensor:
        """Return the losses (B,) of this rank's embeddings (B, E), not normalised, with labels (B,) int64.

        `classes` (S,), sorted, takes the place of the draw; it must hold the labels of all ranks.
        """
        found = self.terms(embeddings, labels, classes=classes)
        with torch.autocast(embeddings.device.type, enabled=False):
            return sample_losses(self.margin, found.terms, found.norms)

    def terms(self, embeddings: Tensor, labels: Tensor, *, classes: Tensor | None = None) -> Measured:
        """Return what the losses of this rank's faces are made of; arguments as of a call."""
        check_shape(embeddings, f"B {self.embedding_size}", name="embeddings")
        check_labels(labels, self.num_identities, num_faces=len(embeddings))
        if self.classes != shard_range(self.num_identities, world_size(), rank=rank()):
            raise RuntimeError(
                f"centres are placed as classes {self.classes}, not for rank {rank()} of {world_size()}: call place()"
                " first, as training.sharded_ddp.ShardedDDPStrategy does"
            )
        precision = precision_on(embeddings.device, self.matmul_precision)  # before autocast is switched off
        with torch.autocast(embeddings.device.type, enabled=False):
            dtype = working_type(embeddings, self.centers)
            sizes = batch_sizes(len(labels), labels.device)
            everyone, every_label = gather_faces(embeddings, labels, sizes=sizes, dtype=dtype)
            classes = self.sample(every_label) if classes is None else classes
            terms = self._terms(everyone, every_label, classes, precision)
            start = sum(sizes[: rank()])
            mine = Terms(*(term[start : start + len(labels)] for term in terms))
            return Measured(mine, split_norms(embeddings, dtype).norms)

    def _terms(self, embeddings: Tensor, labels: Tensor, classes: Tensor | None, precision: Precision) -> Terms:
        """Return the terms (G,) of the faces of all ranks against the classes of all ranks."""
        unit = split_norms(embeddings, embeddings.dtype)
        here = (labels >= self.classes.start) & (labels < self.classes.stop)
        own_rows = torch.where(here, labels - self.classes.start, -1)
        own = own_cosines(unit.directions.detach(), self.centers, own_rows, num_subcenters=self.num_subcenters)
        target_cosines = all_reduce_sum(own)
        if self.margin.training and isinstance(self.margin, TracksBatches):
            self.margin.update(target_cosines, unit.norms.detach())
        rows = None if classes is None else _rows_among(classes, self.classes)
        walked = own_rows if rows is None else torch.where(here, torch.searchsorted(rows, own_rows), -1)
        size = self.chunk_size or default_chunk_size(len(labels), labels.device)
        walk = Walk(
            walked,
            target_cosines,
            frozen_margin(self.margin),
            size,
            rows,
            self.num_subcenters,
            precision=precision,
            compiled=self.compile_chunks,
        )
        shards = _Ranks() if world_size() > 1 else None
        learned = learned_parameters(self.margin)
        return Terms(*WalkTerms.apply(unit.directions, self.centers, walk, shards, *learned))

    def get_extra_state(self) -> dict[str, Any]:
        """Return what state_dict holds besides tensors: the draws so far, and which classes the rows are."""
        return {"num_draws": self.num_draws, "classes": tuple(self.classes), "num_identities": self.num_identities}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the state of the draws."""
        self.num_draws = int(state["num_draws"])


def _rows_among(classes: Tensor, held: ShardRange) -> Tensor:
    return classes[(classes >= held.start) & (classes < held.stop)] - held.start


class _Ranks:
    """Joins the walks of all ranks; see margin_cross_entropy.Shards."""

    def join(self, logsumexp: Tensor) -> Tensor:
        highest = all_reduce_max(logsumexp)
        finite = torch.where(highest.isinf(), torch.zeros_like(highest), highest)
        return all_reduce_sum((logsumexp - finite).exp()).log() + finite

    def join_gradients(self, gradients: Tensor) -> Tensor:
        # Each rank's loss is its share of the objective: a mean over ranks, as DDP makes it.
        return all_reduce_sum(gradients) / world_size()

    def sum_of_parameters(self, gradient: Tensor) -> Tensor:
        # DDP averages what every rank has: the sum over the classes of all of them.
        return all_reduce_sum(gradient)
