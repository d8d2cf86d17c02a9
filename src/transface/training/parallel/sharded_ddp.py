"""DDP for a module with sharded class centres: each rank keeps its own, and DDP neither broadcasts nor averages
them.
"""

from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer


@runtime_checkable
class Sharded(Protocol):
    """A module whose named parameters are other rows on each rank, as PartialFC.

    Attributes:
        sharded_parameters: names of those parameters in the module; their first axis is the rows.
        rows: the rows (start, stop) of the whole table that this rank holds.
        num_rows: how many the whole table has.
    """

    sharded_parameters: tuple[str, ...]

    @property
    def rows(self) -> tuple[int, int]: ...

    @property
    def num_rows(self) -> int: ...

    def place(self) -> None:
        """Keep this rank's rows, now that the process group is up."""
        ...

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Raise ValueError where the optimizer would not step these parameters as they need it."""
        ...


def sharded_parts(module: nn.Module) -> dict[str, Sharded]:
    """Return the parts of a module that are sharded, by name."""
    return {name: part for name, part in module.named_modules() if isinstance(part, Sharded)}


def sharded_parameter_names(module: nn.Module) -> list[str]:
    """Return the full names of the parameters of module that are sharded, e.g. ["classifier.centers"]."""
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, part in sharded_parts(module).items()
        for name in part.sharded_parameters
    ]


def place_shards(module: nn.Module) -> None:
    """Let each sharded part of module keep this rank's rows. After the process group is up, before optimizers are
    made.
    """
    for part in sharded_parts(module).values():
        part.place()


def leave_shards_out(module: nn.Module) -> None:
    """Mark the sharded parameters of module so that DistributedDataParallel(module) leaves them alone."""
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, sharded_parameter_names(module))


MEETING = timedelta(minutes=10)


class ShardedDDPStrategy(DDPStrategy):
    """Lightning's DDP, with sharded parameters placed once the ranks know each other and left out of its traffic.

    `Trainer(strategy=ShardedDDPStrategy(), sync_batchnorm=True, ...)`: all arguments are DDPStrategy's, all else stays
    Lightning's. gradient_as_bucket_view is on unless set: without it DDP keeps a second copy of every gradient,
    full_softmax's centres included.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"gradient_as_bucket_view": True} | settings)

    def setup_environment(self) -> None:
        """Bring the process group up, then place the shards."""
        super().setup_environment()
        if self.lightning_module is not None:
            place_shards(self.lightning_module)

    def setup_distributed(self) -> None:
        """Meet the other ranks, then hold each collective to the time it may take.

        A machine that starts slowly is not lost: however little that time is, ranks wait MEETING for each other.
        """
        wait, self._timeout = self._timeout, max(self._timeout or MEETING, MEETING)
        try:
            super().setup_distributed()
        finally:
            self._timeout = wait
        if wait is not None and wait < MEETING:
            set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
            set_timeout(wait)

    def _setup_model(self, model: nn.Module) -> Any:
        leave_shards_out(model)
        return super()._setup_model(model)
