"""Rank, world size, and collectives between ranks; on one process all of it does nothing.

Every collective adds the bytes it sends and receives to `traffic`, which docs/scaling.md is checked against.
Shapes: B faces of this rank, G faces of all ranks, W ranks.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


class Traffic(NamedTuple):
    """Payload bytes of this rank since the start or the last `reset_traffic`, by collective, before any algorithm's own
    factor.
    """

    gathered: int
    scattered: int
    reduced: int


_traffic = {"gathered": 0, "scattered": 0, "reduced": 0}


def traffic() -> Traffic:
    """Return the bytes this rank has put through gathers (received), reduce-scatters (sent) and all-reduces
    (payload).
    """
    return Traffic(**_traffic)


def reset_traffic() -> None:
    """Set the byte counters to 0."""
    _traffic.update(dict.fromkeys(_traffic, 0))


def is_distributed() -> bool:
    """Return whether a process group of more than one rank is up."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Return this process's rank, 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of ranks, 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


def _counted(kind: str, tensor: Tensor) -> None:
    _traffic[kind] += tensor.numel() * tensor.element_size()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum over ranks, a new tensor; no gradient."""
    return _all_reduce(tensor, dist.ReduceOp.SUM)


def all_reduce_max(tensor: Tensor) -> Tensor:
    """Return the elementwise maximum over ranks, a new tensor; no gradient."""
    return _all_reduce(tensor, dist.ReduceOp.MAX)


def _all_reduce(tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    if not is_distributed():
        return tensor.detach()
    reduced = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(reduced, operation)
    _counted("reduced", reduced)
    return reduced


def batch_sizes(local: int, device: torch.device) -> list[int]:
    """Return each rank's batch size, in rank order. Ranks may differ, as in a last batch."""
    if not is_distributed():
        return [local]
    sizes = torch.empty(world_size(), dtype=torch.int64, device=device)
    dist.all_gather_into_tensor(sizes, torch.tensor([local], device=device))
    _counted("gathered", sizes)
    return sizes.tolist()


def all_gather_rows(tensors: list[Tensor], *, sizes: list[int]) -> list[Tensor]:
    """Return each (B, ...) tensor's rows of all ranks (G, ...), in one collective for all of them; no gradient.

    Each row's bytes of all tensors lie side by side; shorter batches are padded to the longest on the way.
    """
    if not is_distributed():
        return [tensor.detach() for tensor in tensors]
    rows = [
        tensor.detach().reshape(len(tensor), math.prod(tensor.shape[1:])).contiguous().view(torch.uint8)
        for tensor in tensors
    ]
    packed = rows[0].new_zeros(max(sizes), sum(row.shape[1] for row in rows))
    if len(rows[0]):
        torch.cat(rows, dim=1, out=packed[: len(rows[0])])
    everyone = packed.new_empty(len(sizes), *packed.shape)
    dist.all_gather_into_tensor(everyone.flatten(0, 1), packed)
    _counted("gathered", everyone)
    whole = torch.cat([part[:size] for part, size in zip(everyone, sizes, strict=True)])
    pieces = whole.split([row.shape[1] for row in rows], dim=1)
    return [
        piece.contiguous().view(tensor.dtype).reshape(len(whole), *tensor.shape[1:])
        for piece, tensor in zip(pieces, tensors, strict=True)
    ]


def reduce_scatter_rows(tensor: Tensor, *, sizes: list[int]) -> Tensor:
    """Return this rank's rows (B, ...) of the sum over ranks of tensor (G, ...); no gradient."""
    if not is_distributed():
        return tensor
    longest = max(sizes)
    padded = tensor.new_zeros(len(sizes), longest, *tensor.shape[1:])
    for part, rows in zip(padded, tensor.split(sizes), strict=True):
        part[: len(rows)] = rows
    mine = tensor.new_empty(longest, *tensor.shape[1:])
    dist.reduce_scatter_tensor(mine, padded.flatten(0, 1))
    _counted("scattered", padded)
    return mine[: sizes[rank()]]


class GatheredFaces(NamedTuple):
    """The faces of all ranks, in rank order.

    Attributes:
        embeddings: (G, E).
        labels: (G,).
    """

    embeddings: Tensor
    labels: Tensor


def gather_faces(embeddings: Tensor, labels: Tensor, *, sizes: list[int], dtype: torch.dtype) -> GatheredFaces:
    """Return the embeddings, in dtype, and labels of all ranks, from one collective. Embeddings travel in their own
    type.

    The gradient goes back, summed over ranks, in dtype and times W, because DDP divides the backbone's gradients by W.
    """
    if not is_distributed():
        return GatheredFaces(embeddings.to(dtype), labels)
    return GatheredFaces(*_GatherFaces.apply(embeddings, labels, sizes, dtype))


class _GatherFaces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, labels: Tensor, sizes: list[int], dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        ctx.sizes, ctx.dtype = sizes, embeddings.dtype
        everyone, every_label = all_gather_rows([embeddings, labels], sizes=sizes)
        ctx.mark_non_differentiable(every_label)
        return everyone.to(dtype), every_label

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        mine = reduce_scatter_rows(gradient, sizes=ctx.sizes) * len(ctx.sizes)
        return mine.to(ctx.dtype), None, None, None


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum over ranks; its gradient is the sum over ranks as well, that of all ranks' losses together."""
    return _SumOverRanks.apply(tensor) if is_distributed() else tensor


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        return all_reduce_sum(tensor)

    @staticmethod
    @once_differentiable
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient)


def copy_from_first(tensors: list[Tensor]) -> None:
    """Overwrite the tensors of every rank with those of rank 0, in one broadcast for each type."""
    if not is_distributed():
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [tensor.detach() for tensor in tensors if tensor.dtype == dtype]
        packed = torch.cat([tensor.flatten() for tensor in alike])
        dist.broadcast(packed, src=0)
        for tensor, part in zip(alike, packed.split([tensor.numel() for tensor in alike]), strict=True):
            tensor.copy_(part.view_as(tensor))


def global_mean(per_sample: Tensor) -> Tensor:
    """Return a scalar whose gradients, averaged over ranks by DDP, are those of the mean over the batches of all ranks
    together.

    It is sum(per_sample) * W / G: on even batches the local mean, on one process the plain mean. Averaged over ranks it
    is the global mean. No host synchronisation.
    """
    if not is_distributed():
        return per_sample.mean()
    faces = all_reduce_sum(torch.full((), len(per_sample), dtype=torch.int64, device=per_sample.device))
    return per_sample.sum() * (world_size() / faces.to(torch.promote_types(per_sample.dtype, torch.float32)))
