"""A warning (SIGTERM, CTRL-C, a closed terminal, a scheduler's signal) becomes a checkpoint, a requeue where SLURM runs
the job, and a clean end.
"""

import logging
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from transface.data.loaders import ENDING_SIGNALS
from transface.distributed import rank, world_size
from transface.training.checkpoints.writer import CheckpointWriter

log = logging.getLogger(__name__)
PREEMPTED_EXIT_CODE = 143
INTERRUPTED_EXIT_CODE = 130


class Preempted(SystemExit):
    """The run was told to end; a checkpoint is written, resume=true continues. Its code is 130 after CTRL-C, else
    143.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(INTERRUPTED_EXIT_CODE if number == signal.SIGINT else PREEMPTED_EXIT_CODE)


class PreemptionGuard(Callback):
    """Saves and ends at the next optimizer step after a signal; ranks agree on the step, so that the checkpoint is
    whole.

    A second CTRL-C ends the process at once.

    Args:
        signals: names of the signals to heed; SIGUSR2 is submitit's.
        requeue: ask the queue to run the job again: submitit where it started the job, else SLURM where there is one.
            Not after CTRL-C.
    """

    def __init__(self, *, signals: tuple[str, ...] | list[str] = ENDING_SIGNALS, requeue: bool = True) -> None:
        self.signals = [signal.Signals[name] for name in signals]
        self.requeue = requeue
        self._warned = self._saved = False
        self._number = signal.SIGTERM
        self._before: dict[signal.Signals, Any] = {}
        self._step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Before Lightning puts its own in place, which it takes away before `teardown`.
        self._before = {number: signal.getsignal(number) for number in self.signals}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step
        for number in self.signals:
            signal.signal(number, self._heed)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._before = {}

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._warned and self._number == signal.SIGINT:
                sys.stderr.write("transface: stopped at once, nothing more was saved\n")
                sys.stderr.flush()
                os._exit(INTERRUPTED_EXIT_CODE)
            if rank() == 0:
                sys.stderr.write("\nstopping at the end of this step, with a checkpoint; CTRL-C again stops at once\n")
        self._warned, self._number = True, signal.Signals(number)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if not self._any_rank_warned(pl_module):
            return
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        writer = next((part for part in callbacks if isinstance(part, CheckpointWriter)), None)
        folder = None if writer is None else writer.save(trainer)
        if rank() == 0:
            saved = (
                "nothing was saved, this run writes no checkpoints"
                if folder is None
                else f"saved {folder}; resume=true continues from there"
            )
            print(f"told to stop by {self._number.name}: {saved}", flush=True)
        self._saved = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """End the run: not sooner, because the last step's metrics are logged between two batches."""
        if not self._saved:
            return
        for logger in trainer.loggers:
            logger.save()
        if self.requeue and self._number != signal.SIGINT:
            self._ask_queue()
        raise Preempted(self._number)

    def _ask_queue(self) -> None:
        handler = self._before.get(self._number)
        if getattr(handler, "__module__", "").startswith("submitit") and self._number != signal.SIGTERM:
            handler(int(self._number), None)  # type: ignore[misc] # counts the attempt, queues the job again and exits
        elif rank() == 0:
            requeue_slurm_job()

    def _any_rank_warned(self, pl_module: LightningModule) -> bool:
        if world_size() == 1:
            return self._warned
        flag = torch.tensor([int(self._warned)], device=pl_module.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())


def requeue_slurm_job() -> bool:
    """Ask SLURM to run this job again and return whether there was one to ask for."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return False
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{task}" if array and task else job
    outcome = subprocess.run(["scontrol", "requeue", name], capture_output=True, text=True, check=False)
    if outcome.returncode:
        log.error("scontrol requeue %s failed: %s; submit it again with resume=true", name, outcome.stderr.strip())
    return outcome.returncode == 0
