"""Stops a run whose loss is no longer a number, keeps the batch that did it, and hints when a loss is stuck."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from transface.artifacts import writing_file
from transface.distributed import rank

log = logging.getLogger(__name__)


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite.

    Attributes:
        says_all: the text says what to try, so the command line shows it without a traceback.
    """

    says_all = True


class _Suspect(NamedTuple):
    finite: Tensor
    ready: Any
    loss: Tensor
    batch: Any
    step: int
    epoch: int
    batch_idx: int
    learning_rate: float
    hint: str


class NonFiniteGuard(Callback):
    """Ends training at the first NaN or infinite loss: on the CPU before the weights move, on a GPU one step later (no
    wait in a step).

    Args:
        folder: the offending batch is saved there as offending-batch-rank<r>.pt (images, labels, keys, step, learning
            rate).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._batch: Any = None
        self._batch_idx = 0
        self._pending: _Suspect | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._batch, self._batch_idx = batch, batch_idx

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._check_pending()
        finite = torch.isfinite(loss.detach()).all()
        ready = None
        if loss.is_cuda:
            finite = finite.to("cpu", non_blocking=True)
            ready = torch.cuda.Event()
            ready.record()
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        hint = _hint(pl_module, "non_finite")
        where = (trainer.global_step, trainer.current_epoch, self._batch_idx)
        self._pending = _Suspect(finite, ready, loss.detach(), self._batch, *where, rate, hint)
        if not loss.is_cuda:
            self._check_pending()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check_pending()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_pending()

    def _check_pending(self) -> None:
        suspect, self._pending = self._pending, None
        if suspect is None:
            return
        if suspect.ready is not None:
            suspect.ready.synchronize()
        if not bool(suspect.finite):
            self._refuse(suspect)

    def _refuse(self, suspect: _Suspect) -> None:
        path = self.folder / f"offending-batch-rank{rank()}.pt"
        parts = _plain(suspect.batch)
        where = {
            "step": suspect.step,
            "epoch": suspect.epoch,
            "batch_idx": suspect.batch_idx,
            "learning_rate": suspect.learning_rate,
        }
        try:
            with writing_file(path) as file:
                torch.save({**(parts if isinstance(parts, dict) else {"batch": parts}), **where}, file)
            kept = f"the batch is in {path}"
        except (OSError, RuntimeError) as error:  # the loss is what the user must hear of; RuntimeError is torch's own
            kept = f"the batch could not be written to {path} ({str(error).strip().splitlines()[0][:200]})"
        raise NonFiniteLossError(
            f"loss is {float(suspect.loss)} at step {suspect.step} (epoch {suspect.epoch}, batch {suspect.batch_idx},"
            f" rank {rank()}), learning rate {suspect.learning_rate:g}; {kept}. Lower optimizer.lr or"
            f" lengthen schedule.warmup_epochs{suspect.hint}; the last checkpoint is from before"
        )


def _plain(batch: Any) -> Any:
    """Return a batch as dicts, lists and tensors on the CPU, which any version of torch reads again."""
    if isinstance(batch, Tensor):
        return batch.detach().cpu()
    if hasattr(batch, "_asdict"):
        return {name: _plain(part) for name, part in batch._asdict().items()}
    if isinstance(batch, Mapping):
        return {str(name): _plain(part) for name, part in batch.items()}
    return [_plain(part) for part in batch] if isinstance(batch, list | tuple) else batch


def _hint(module: LightningModule, failure: str) -> str:
    """Return what the system says to try in that case, as the end of a sentence."""
    words = getattr(module, "hints", {}).get(failure, "")
    return f", or {words}" if words else ""


class StuckLossHint(Callback):
    """Warns once when the loss has hardly moved for long after warm-up, as transformers do at high rates and small
    batches.

    Args:
        patience_steps: optimizer steps over which the loss is compared.
        smallest_fall: relative fall of the mean loss expected over that many steps.
    """

    def __init__(self, *, patience_steps: int = 20_000, smallest_fall: float = 0.01) -> None:
        self.patience_steps, self.smallest_fall = patience_steps, smallest_fall
        self._sum: Tensor | None = None
        self._count = 0
        self._before: float | None = None
        self._said = False

    def state_dict(self) -> dict[str, Any]:
        return {"before": self._before, "said": self._said}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before, self._said = state_dict["before"], state_dict["said"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss, parts = outputs["loss"].detach(), trainer.accumulate_grad_batches
        self._sum = loss if self._sum is None else self._sum + loss
        self._count += 1
        if self._count < self.patience_steps * parts:
            return
        mean = float(self._sum) * parts / self._count  # Lightning hands on a batch's share of the step's loss
        self._sum, self._count = None, 0
        if self._before is not None and mean > self._before * (1 - self.smallest_fall) and not self._said:
            self._said = True
            level = logging.WARNING if rank() == 0 else logging.DEBUG
            log.log(
                level,
                "loss %.2f has not fallen below %.2f for %d steps: if this lasts, try a lower optimizer.lr, a longer"
                " warm-up, a larger batch%s",
                mean,
                self._before,
                self.patience_steps,
                _hint(pl_module, "stuck"),
            )
        self._before = mean
