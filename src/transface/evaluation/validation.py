"""Validation inside training: any protocols at chosen steps, on all ranks, on the weights that evaluation would use."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from transface.backbones.features import FACE_OUTPUTS
from transface.distributed import copy_from_first
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.protocol import BenchmarkProtocol, run_protocol
from transface.evaluation.rehearsal import rehearsed
from transface.evaluation.results import Better, Measure, Result
from transface.evaluation.runner import ModelRunner
from transface.progress import working
from transface.training.checkpoints.writer import CheckpointWriter
from transface.training.module import TrainingModule

log = logging.getLogger(__name__)


class ProtocolValidation(Callback):
    """Runs protocols after every n steps and epochs and logs val/<set>/<measure> and the means over sets.

    Ranks share the images; no random number is drawn, so training continues as if nothing had been measured. The
    results of the run's last weights are whole (intervals, decisions, hardest pairs), earlier ones are numbers alone.

    Args:
        protocols: e.g. [PairSets(files)].
        every_n_steps: optimizer steps between validations, or None.
        every_n_epochs: epochs between validations, or None; the last step of a run is validated as well, wherever it
            ends.
        batch_size: images in a batch.
        num_workers: threads that decode ahead.
        before: measure the network a run starts from too, before the first step: what fine-tuning is held against.

    Attributes:
        results: of the latest validation.
        directions: by the name of a value that will be logged, which way is better; known after `will_measure`.
        told_before: called with the results before the first step, on every rank; None: nobody is told.
    """

    def __init__(
        self,
        protocols: Sequence[BenchmarkProtocol],
        *,
        every_n_steps: int | None = None,
        every_n_epochs: int | None = 1,
        batch_size: int = 128,
        num_workers: int = 2,
        before: bool = False,
    ) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("every_n_epochs", every_n_epochs)):
            if value is not None and value < 1:
                raise ValueError(f"validation.{name} must be at least 1 or null, got {value}")
        self.protocols = [protocol for protocol in protocols if protocol.names]
        self.every_n_steps, self.every_n_epochs = every_n_steps, every_n_epochs
        self.batch_size, self.num_workers = batch_size, num_workers
        self.before = before
        self.told_before: Callable[[list[Result]], None] | None = None
        self.results: list[Result] = []
        self.directions: dict[str, Better] = {}
        self._whole = False

    @staticmethod
    def unread_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return the settings that are not read beside the others, by name, with the reason."""
        if settings.get("before") or not (settings.get("every_n_steps") is settings.get("every_n_epochs") is None):
            return {}
        why = "nothing is validated: validation.every_n_steps and every_n_epochs are null"
        return {f"protocols.{number}": why for number in range(len(settings.get("protocols") or ()))}

    def prepare(self, network: nn.Module | None = None) -> None:
        """Read the protocols' lists and hold the headers of their images against what the network takes, so that what
        is wrong is known before the first step and not at the first validation.
        """
        size = getattr(network, "image_size", None)
        for protocol in self.protocols:
            protocol.prepare()
            check = getattr(protocol, "check_images", None)
            if check is not None and size is not None:
                check((int(size[0]), int(size[1])))

    def will_measure(self, network: nn.Module) -> list[str] | None:
        """Return the names of the values that validations will log, means first; None where they are not known before,
        [] where nothing is validated.
        """
        if not self._is_wanted():
            return []
        results = rehearsed(self.protocols, network)
        self.directions = directions_of(results or ())
        return None if results is None else sorted(logged_values(results), key=lambda name: "/mean/" not in name)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.prepare()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if not self.before or not self.protocols or trainer.global_step > 0:
            return
        # Nothing that follows the best value knows of this one: it is of no weights that were trained here.
        found = self._measured(trainer, pl_module, whole=True)
        for logger in trainer.loggers:
            logger.log_metrics({**logged_values(found), "epoch": 0}, step=0)
        if self.told_before is not None:
            self.told_before(found)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if (
            not self.protocols
            or pl_module.validated_at == trainer.global_step
            or trainer.fit_loop.epoch_loop._should_accumulate()
        ):
            return
        epoch_ends = bool(trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)
        run_ends = self._is_wanted() and self._run_ends(trainer, epoch_ends)
        if run_ends or self._is_due(trainer, epoch_ends):
            with saved_first(trainer):
                self.validate(trainer, pl_module, whole=run_ends)

    def _is_due(self, trainer: Trainer, epoch_ends: bool) -> bool:
        by_step = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        return by_step or (
            self.every_n_epochs is not None and epoch_ends and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        )

    def _is_wanted(self) -> bool:
        return bool(self.protocols) and (self.every_n_steps is not None or self.every_n_epochs is not None)

    def _run_ends(self, trainer: Trainer, epoch_ends: bool) -> bool:
        by_steps = trainer.max_steps not in (None, -1) and trainer.global_step >= trainer.max_steps
        return by_steps or (
            epoch_ends and trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the last weights where the end came unforeseen: a time budget, early stopping."""
        assert isinstance(pl_module, TrainingModule)
        if self._is_wanted() and not (self._whole and pl_module.validated_at == trainer.global_step):
            with saved_first(trainer):
                self.validate(trainer, pl_module, whole=True, log=pl_module.validated_at != trainer.global_step)

    def validate_after_all(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Validate the weights of a run that had ended already, if it is resumed before its results were written;
        loggers have them.
        """
        if self._is_wanted() and trainer.global_step > 0 and pl_module.validated_at != trainer.global_step:
            pl_module.to(trainer.strategy.root_device)
            self.validate(trainer, pl_module, whole=True, log=False)

    def validate(self, trainer: Trainer, pl_module: TrainingModule, *, whole: bool = False, log: bool = True) -> None:
        """Evaluate every protocol now; every rank calls it."""
        self.results = self._measured(trainer, pl_module, whole=whole)
        self._whole = whole
        values = logged_values(self.results)
        pl_module.directions.update(directions_of(self.results))
        if not values:
            return
        pl_module.validated_at = trainer.global_step
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in (
            trainer.loggers if log else []
        ):  # not self.log: that reaches the loggers only at every log_every_n_steps-th step
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=trainer.global_step)

    def _measured(self, trainer: Trainer, pl_module: TrainingModule, *, whole: bool) -> list[Result]:
        # Each rank's batch norm has seen its own faces since the last broadcast of DDP; a checkpoint holds those of
        # rank 0.
        copy_from_first(list(pl_module.evaluated_network.buffers()))
        runner = runner_for(
            pl_module.evaluated_network,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            progress="lines",
            forward_context=trainer.precision_plugin.forward_context,
            in_training=True,
        )
        results: list[Result] = []
        with working("validation"):
            for protocol in self.protocols:
                own = run_protocol(protocol, runner, detailed=whole)
                # What a network states beside its weights, e.g. thresholds: protocols that have none say nothing.
                getattr(protocol, "tell_network", _nothing)(pl_module.network, own)
                results += own
        return results


def _nothing(_network: nn.Module, _results: Sequence[Result]) -> None:
    pass


@contextlib.contextmanager
def saved_first(trainer: Trainer) -> Iterator[None]:
    """Save the trained weights where what is done inside fails, and let the error through.

    On several ranks nothing is saved here: the others may be waiting inside the evaluation, and a checkpoint needs all.
    """
    try:
        yield
    except Exception:
        parts: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        writer = next((part for part in parts if isinstance(part, CheckpointWriter)), None)
        if writer is not None and trainer.world_size == 1 and writer.saved_step != trainer.global_step:
            log.error(
                "the validation failed: the trained weights were saved first, in %s; resume=true continues from them",
                writer.save(trainer),
            )
        raise


def runner_for(network: nn.Module, **settings: Any) -> ModelRunner:
    """Return what runs a network for a protocol: an Embedder where it answers an embedding, else a plain
    ModelRunner.
    """
    outputs = getattr(network, "outputs", FACE_OUTPUTS)
    return Embedder(network, **settings) if "embedding" in outputs else ModelRunner(network, **settings)


def logged_values(results: Sequence[Result]) -> dict[str, float]:
    """Return what to log of some results: each set's measures, and the mean over sets of each measure.

    A set evaluated in several modes is logged as <set>_<mode>. A mean is over the sets of one protocol and kind, of
    measures of one unit that have a better end (never of thresholds): val/<protocol>/mean/<measure>, and
    val/mean/<measure> where there is one such protocol.
    """
    values: dict[str, float] = {}
    names = [result.name for result in results]
    for result in results:
        for measure in result.measures:
            values[f"val/{_set_name(result, names)}/{measure.name}"] = measure.value
    return values | {name: sum(m.value for m in own) / len(own) for name, own in _means(results).items()}


def directions_of(results: Sequence[Result]) -> dict[str, Better]:
    """Return, for every logged value that has one, which way is better."""
    names = [result.name for result in results]
    found = {f"val/{_set_name(r, names)}/{m.name}": m.better for r in results for m in r.measures}
    found |= {name: own[0].better for name, own in _means(results).items()}
    return {name: better for name, better in found.items() if better is not None}


def _set_name(result: Result, names: Sequence[str]) -> str:
    return result.name if names.count(result.name) == 1 else f"{result.name}_{result.mode}"


def _means(results: Sequence[Result]) -> dict[str, list[Measure]]:
    """Return the measures behind each mean that is logged, by its name."""
    groups: dict[tuple[str, str, str], list[Measure]] = {}
    for result in results:
        for measure in result.measures:
            if measure.better is not None:
                groups.setdefault((result.protocol, result.kind, measure.name), []).append(measure)
    homes: dict[str, set[tuple[str, str]]] = {}
    for protocol, kind, name in groups:
        homes.setdefault(name, set()).add((protocol, kind))
    found: dict[str, list[Measure]] = {}
    for (protocol, _, name), own in groups.items():
        if len({measure.unit for measure in own}) > 1:
            continue  # years and kilograms have no mean
        found[f"val/{protocol}/mean/{name}"] = own
        if len(homes[name]) == 1:
            found[f"val/mean/{name}"] = own
    return found
