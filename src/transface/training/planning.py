"""What a run costs on ranks that are not there: shapes, memory and traffic of one rank, on torch's fake process group.

No number is computed and no data is read: weights are on the meta device, activations are shapes.
Shapes: B images of a rank, W ranks, R rows of class centres of a rank, E embedding size.
"""

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from transface.classifiers.class_walk import default_chunk_size
from transface.classifiers.head_costs import HeadMemory, HeadTraffic, head_memory, head_traffic
from transface.training.module import OptimizerFactory, TrainingModule
from transface.training.parallel.sharded_ddp import sharded_parameter_names

log = logging.getLogger(__name__)


class RankPlan(NamedTuple):
    """What one rank of a run holds and moves, in bytes.

    Attributes:
        weights: of everything but the head.
        gradients: of what is trained of it.
        moments: what the optimizer keeps of it.
        activations: what the network saves for the backward pass of a batch; None where that is not known.
        head: of the class centres, all heads together; None where there are none.
        head_traffic: of a step, without the averaging of gradients.
        averaged: bytes of gradients that DDP averages in a step.
        centers: rows of class centres on this rank, by the name of the parameter.
        flops_per_image: floating-point operations of an image in a step by the model itself; None where not known.
    """

    weights: int
    gradients: int
    moments: int
    activations: int | None
    head: HeadMemory | None
    head_traffic: HeadTraffic
    averaged: int
    centers: dict[str, tuple[int, int]]
    flops_per_image: int | None = None

    def memory(self) -> int:
        """Return the bytes of all that is known."""
        known = self.weights + self.gradients + self.moments + (self.activations or 0)
        return known + (0 if self.head is None else self.head.total())


@contextlib.contextmanager
def fake_ranks(world_size: int, *, rank: int = 0) -> Iterator[None]:
    """Be one rank of a process group that is not there: its collectives answer at once, with this rank's own values.

    Raises:
        RuntimeError: where a process group is up already.
    """
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        raise RuntimeError("a process group is up already: a plan is made by a process of its own")
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def plan_rank(
    build: Callable[[], TrainingModule], world_size: int, *, images: int, half: bool = False, rank: int = 0
) -> RankPlan:
    """Return what a rank of a run costs.

    Args:
        build: makes the module, which is built on the meta device as on one rank of many.
        images: B, of a rank and a batch.
        half: whether the network runs in half precision (bf16-mixed, 16-mixed).
    """
    with fake_ranks(world_size, rank=rank), torch.device("meta"):
        module = build()
        return _plan(module, world_size, images=images, half=half)


def _plan(module: TrainingModule, world_size: int, *, images: int, half: bool) -> RankPlan:
    heads = [part for part in module.modules() if hasattr(part, "centers") and hasattr(part, "num_identities")]
    of_heads = {id(part.centers) for part in heads}
    others = [own for own in module.parameters() if id(own) not in of_heads]
    moments = num_moments(module.optimizer_factory)
    trained = sum(own.numel() for own in others if own.requires_grad)
    sharded = set(sharded_parameter_names(module))
    averaged = sum(own.numel() for name, own in module.named_parameters() if own.requires_grad and name not in sharded)
    shapes = FakeTensorMode(allow_non_fake_inputs=True)
    forward = saved_forward(module.network, images, half=half, shapes=shapes)
    size = 4 if forward is None else forward.element_size
    costs = [
        _head(part, world_size, images=images, num_moments=moments, sharded=bool(sharded), element_size=size)
        for part in heads
    ]
    return RankPlan(
        weights=4 * sum(own.numel() for own in others) + sum(own.nbytes for own in module.buffers()),
        gradients=4 * trained,
        moments=4 * moments * trained,
        activations=None if forward is None else forward.saved,
        head=HeadMemory(*map(sum, zip(*(memory for memory, _ in costs), strict=True))) if costs else None,
        head_traffic=HeadTraffic(*map(sum, zip(HeadTraffic(0, 0, 0), *(moved for _, moved in costs), strict=True))),
        averaged=4 * averaged if world_size > 1 else 0,
        centers={
            name: (int(own.shape[0]), int(own.shape[1]))
            for name, own in module.named_parameters()
            if id(own) in of_heads
        },
        flops_per_image=None if forward is None else flops_on_shapes(module, shapes),
    )


def _head(
    part: Any, world_size: int, *, images: int, num_moments: int, sharded: bool, element_size: int
) -> tuple[HeadMemory, HeadTraffic]:
    faces = images * world_size if sharded else images
    memory = head_memory(
        part.num_identities * getattr(part, "num_subcenters", 1),
        part.embedding_size,
        ranks=world_size,
        sharded=sharded,
        sample_rate=getattr(part, "sample_rate", 1.0),
        num_moments=num_moments,
        faces_per_rank=images,
        chunk_size=part.chunk_size or default_chunk_size(faces, torch.device("cuda")),
    )
    if not sharded or world_size == 1:
        return memory, HeadTraffic(0, 0, 0)
    return memory, head_traffic(
        part.embedding_size, ranks=world_size, faces_per_rank=images, faces=faces, element_size=element_size
    )


def num_moments(factory: OptimizerFactory) -> int:
    """Return how many numbers an optimizer keeps of each weight, seen by a step on one that is made up."""
    weight = nn.Parameter(torch.zeros(3, 2, device="cpu"))
    weight.grad = torch.ones_like(weight)
    optimizer = factory([{"params": [weight]}])
    optimizer.step()
    return sum(isinstance(kept, Tensor) and kept.shape == weight.shape for kept in optimizer.state[weight].values())


def flops_on_shapes(module: TrainingModule, shapes: FakeTensorMode) -> int | None:
    """Return the operations of an image in a step, its network being one of these shapes; None where they do not
    tell.
    """
    try:
        with shapes, torch.device("cpu"):
            return module.flops_per_image()
    except Exception as error:  # a network that looks at values, or takes more than images
        log.info("the operations of %s are not known: %s", type(module.network).__name__, error)
        return None


class Forward(NamedTuple):
    """A forward pass: the bytes saved for the backward pass, weights apart, and those of a number that comes out."""

    saved: int
    element_size: int


def saved_forward(
    network: nn.Module, images: int, *, half: bool, shapes: FakeTensorMode | None = None
) -> Forward | None:
    """Return what a network saves in a forward pass of a batch in training, from shapes alone; None where they do not
    tell. Its weights are `shapes` afterwards.
    """
    size = getattr(network, "image_size", None)
    if size is None:
        return None
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in kept:
            found[id(storage)] = storage.nbytes()
            alive.append(storage)  # an address is not given away twice while it is held
        return tensor

    alive: list[Any] = []
    try:
        with shapes or FakeTensorMode(allow_non_fake_inputs=True):
            fake = network.to_empty(device="cpu").train()
            kept = {id(own.untyped_storage()) for own in itertools.chain(fake.parameters(), fake.buffers())}
            alive += [own.untyped_storage() for own in fake.parameters()]
            pictures = torch.zeros(images, 3, *size, device="cpu")
            with (
                torch.autocast("cpu", dtype=torch.bfloat16, enabled=half),
                torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            ):
                answers = fake(pictures)
    except Exception as error:  # a network that looks at values, or takes more than images
        log.info("the activations of %s are not known: %s", type(network).__name__, error)
        return None
    first = answers if isinstance(answers, Tensor) else next(own for own in answers if isinstance(own, Tensor))
    return Forward(sum(found.values()), first.element_size())
