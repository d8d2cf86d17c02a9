"""A callback by which one rank dies, hangs or is slow at its n-th all-reduce, all-gather or save."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer

from transface.training.checkpoints.writer import CheckpointWriter

CALLS = {
    "all_reduce": (dist, "all_reduce"),
    "all_gather": (dist, "all_gather_into_tensor"),
    "save": (CheckpointWriter, "save"),
}
SLOW_SECONDS = 3.0


class Fault(Callback):
    """Strikes on one rank at the n-th call of a kind, and counts the calls of each kind.

    Args:
        kind: "die", "hang", "slow", or "none": only count.
        place: "before", "in" or "after" the call.
        call: a name of CALLS.
        rank: where.
        number: n, from 1.
        mark: a file that gets the moment at which it struck, or with "none" the counts of rank 0.
    """

    def __init__(self, kind: str, place: str, call: str, rank: int, number: int, mark: str) -> None:
        self.kind, self.place, self.call, self.rank, self.number = kind, place, call, rank, number
        self.mark = Path(mark)
        self.counts = dict.fromkeys(CALLS, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if dist.get_rank() == self.rank:
            for name, (home, attribute) in CALLS.items():
                setattr(home, attribute, self.faulty(name, getattr(home, attribute)))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.kind == "none" and dist.get_rank() == self.rank:
            self.mark.write_text(json.dumps(self.counts))

    def strike(self) -> None:
        """Leave a mark, then die, hang or wait."""
        with self.mark.open("x") as file:
            json.dump(time.time(), file)
        if self.kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(SLOW_SECONDS if self.kind == "slow" else 3600)

    def faulty(self, name: str, real: Any) -> Any:
        """Return a call that counts, and strikes at its time."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.counts[name] += 1
            if self.kind == "none" or name != self.call or self.counts[name] != self.number:
                return real(*args, **kwargs)
            if self.place == "before":
                self.strike()
                return real(*args, **kwargs)
            if self.place == "in" and name != "save":
                work = real(*args, **kwargs | {"async_op": True})
                self.strike()
                work.wait()
                return None
            found = real(*args, **kwargs)
            self.strike()
            return found

        return call
