"""`transface train`: compose, build data, module and trainer, fit, report."""

import dataclasses
import logging
import re
import time
import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict

from transface.artifacts import code_commit
from transface.cli.config.command_line import key_of
from transface.cli.config.compose import instantiate, plain, run_verb, search_direction, words_given
from transface.cli.config.errors import UserError, failure_line, is_late, one_line, user_line
from transface.cli.config.value_types import home_of, parts
from transface.cli.runs.changed_settings import changed_settings, told
from transface.cli.runs.child_processes import children_repeat, refuse_machine_alone
from transface.cli.runs.loggers import log_config, make_loggers
from transface.cli.runs.planned_run import print_plan
from transface.cli.runs.recorded_run import repeat_of
from transface.cli.runs.run_folder import (
    checkpoint_of,
    environment_of,
    is_newest_of,
    prepare_folder,
    record_environment,
    record_run,
)
from transface.cli.runs.sizes_from_weights import take_sizes_from_weights
from transface.cli.runs.trained_images import names_of_data, refuse_trained
from transface.cli.runs.trained_model import record_trained
from transface.cli.runs.trials import in_trials
from transface.cli.runs.unread_settings import leave_out_replaced_settings, unread_settings
from transface.progress import is_main_process

log = logging.getLogger(__name__)
NUM_CLASSES = 20  # named of an answer at the start
NUM_MEASURES = 16  # named where one is asked for that there is not


def main(argv: list[str]) -> int:
    """Run `transface train` with Hydra overrides."""
    if any(word.startswith("plan=") and word != "plan=false" for word in argv):
        argv = [*argv, "hydra=no_folder"]  # a run that is not made has no folder
    repeat = repeat_of(argv)
    if repeat is None:
        run_verb("train", argv, planned_or_trained)
    else:
        run_verb(repeat.name, repeat.words, planned_or_trained, folder=repeat.folder)
    return 0


def planned_or_trained(cfg: DictConfig) -> float | None:
    """Print what the run would cost, where the config asks for that, else train."""
    if not cfg.plan:
        return in_trials(train)(cfg)
    check_settings(cfg)
    cfg = editable(cfg)
    leave_out_replaced_settings(cfg, words_given())
    leave_out_unfit_parts(cfg)
    print_plan(cfg, with_facts=with_facts)
    return None


def train(cfg: DictConfig) -> float | None:
    """Train what the config describes; return the monitored metric (what a sweep optimises) or None."""
    check_settings(cfg)
    refuse_machine_alone(cfg.num_nodes)
    folder = Path(cfg.paths.run)
    resume = checkpoint_of(folder, resume=cfg.resume)
    folder.mkdir(parents=True, exist_ok=True)  # a folder that cannot be written is refused before any data is read
    cfg = editable(cfg)

    import lightning

    from transface.cli.runs.run_start import RunStart
    from transface.training.checkpoints.reader import read_checkpoint
    from transface.training.parallel.synced_batch_norm import check_batch_norms

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Lightning looks for the position in the loader; ours is in the data module (TrainingData.state_dict), and resuming
    # is exact.
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    lightning.seed_everything(cfg.seed, verbose=False)
    leave_out_replaced_settings(cfg, words_given())
    leave_out_unfit_parts(cfg)
    if sizes := take_sizes_from_weights(cfg, words_given()):
        print(f"as {cfg.backbone.weights} has it: {', '.join(sizes)}", flush=True)
    data = instantiate(cfg.data)
    cfg = with_facts(cfg, data.facts())
    if is_main_process() and (unread := unread_settings(cfg, words_given())):
        log.warning("these settings change nothing: %s", "; ".join(f"{name} ({why})" for name, why in unread.items()))
    module = instantiate(cfg.system)
    module.open_models(open_model)
    trainer = build_trainer(cfg, resumed=resume is not None)
    devices = trainer.world_size
    images = data.device_batch_size(devices=devices, accumulation=trainer.accumulate_grad_batches)
    check_batch_norms(module, images, devices=devices, synced=bool(cfg.trainer.get("sync_batchnorm")))
    for part in validations_of(trainer):
        part.prepare(module.network)
        part.told_before = partial(write_before, cfg)
        refuse_trained_images(cfg, part.protocols, data)
    check_monitors(cfg, trainer, module)
    changes: list[str] = []
    trained_with: dict[str, Any] = {}
    if resume is not None:
        stored = read_checkpoint(resume)
        trained_with = (stored.get("transface") or {}).get("config") or {}
        refuse_other_system(cfg, trained_with, resume)
        changes = changed_settings(trained_with, plain(cfg)) if trained_with else []
        try:
            module.check_checkpoint(stored, resume)  # before anything is moved for it
        except ValueError as error:
            if not changes:
                raise
            raise UserError(f"{error}; changed since the checkpoint: {told(changes)}") from error
        if (ended := ended_before(cfg, stored)) is not None:
            print(ended, flush=True)
            return None
        if has_ended(cfg, stored):  # Lightning would begin training to find that there is nothing to train
            trainer.fit_loop.epoch_loop.max_steps = int(stored["global_step"])
    environment = environment_of(world_size=trainer.world_size, cfg=cfg)  # the command as it was given
    said = [*classes_told(module.network), *([f"changed since the checkpoint: {told(changes)}"] if changes else [])]
    start = RunStart.put_before(trainer, partial(begin_run, cfg, trainer, resume, said, environment))
    started = time.perf_counter()
    with children_repeat(cfg):
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=None if resume is None else True)
        if not start.begun and resume is not None and is_newest_of(folder, resume):
            # What the run recorded of itself stays true of its weights, whatever this command says.
            if changes and trainer.is_global_zero:
                print(f"nothing was trained, so these settings change nothing: {told(changes)}", flush=True)
            return finish(cfg, trainer, module, config=trained_with | {"protocol": plain(cfg.get("protocol"))})
        start.begin(trainer)  # of another run that had ended, which takes no step here
        if trainer.is_global_zero:
            record_trained(folder, module, data, trainer, started=started, resumed=resume is not None)
        return finish(cfg, trainer, module)


def begin_run(
    cfg: DictConfig,
    trainer: Any,
    resume: Path | None,
    said: list[str],
    environment: dict[str, Any],
    loggers: list[Any],
) -> None:
    """Make the run's folder ready, record in it what is run, and print what there is to say of it."""
    folder = Path(cfg.paths.run)
    prepare_folder(folder, resume)
    record_run(folder, plain(cfg), composed=cfg)
    record_environment(folder, environment)
    if trainer.is_global_zero:
        for line in said:
            print(line, flush=True)
        log_config(loggers, plain(cfg), folder=folder)


def classes_told(network: Any) -> list[str]:
    """Return a line for each answer of one of several classes: which they are, in their order."""
    outputs = getattr(network, "outputs", {})
    named = {name: list(output.names) for name, output in outputs.items() if output.kind == "one_of"}
    return [
        f"{name} is one of {', '.join(words[:NUM_CLASSES])}"
        + (f" and {len(words) - NUM_CLASSES} more" if len(words) > NUM_CLASSES else "")
        for name, words in named.items()
    ]


def refuse_trained_images(cfg: DictConfig, protocols: Iterable[Any], data: Any) -> None:
    """Raise where a protocol of the config would validate on images that are trained on."""
    asked = plain(cfg.get("protocol")) or {}
    sets = getattr(data, "datasets", {})
    for protocol in protocols:
        if str(asked.get("_target_")).rpartition(".")[2] == type(protocol).__name__:
            refuse_trained(
                protocol,
                asked,
                plain(cfg),
                who="this run",
                names_in=lambda own: names_of_data(sets.get(own.home.rpartition(".")[2], data)),
            )


def check_monitors(cfg: DictConfig, trainer: Any, module: Any) -> None:
    """Look, before the first step, whether validation gives the measure that chooses the best checkpoint or stops the
    run; warn where it does not and nobody named that measure: it came with the experiment.

    Raises:
        UserError: for one that the command line names, with those that there will be; for a direction that is not the
            measure's.
    """
    from transface.training.callbacks.early_stopping import EarlyStopping
    from transface.training.checkpoints.writer import CheckpointWriter

    validations = validations_of(trainer)
    found = [part.will_measure(module.network) for part in validations]
    measured = [name for names in found for name in names or ()]
    parts: list[tuple[str, Any]] = [
        ("checkpoint", part) for part in trainer.callbacks if isinstance(part, CheckpointWriter)
    ]
    parts += [("callbacks.early_stopping", part) for part in trainer.callbacks if isinstance(part, EarlyStopping)]
    if None in found:
        return
    direction = search_direction()
    if not measured:
        if direction is not None and str(cfg.monitor).startswith("val/"):
            raise UserError(
                f"a search looks for the best {cfg.monitor}, and nothing is validated in its trials: see"
                " validation.every_n_epochs and protocol"
            )
        if any(isinstance(part, EarlyStopping) for _, part in parts) and trainer.is_global_zero:
            log.warning("nothing is validated in this run, so nothing stops it early: see validation.every_n_epochs")
        return
    better = {name: way for part in validations for name, way in part.directions.items()}
    for home, part in parts:
        refuse_other_direction(f"{home}.mode", part.mode, part.monitor, better, words=("max", "min"))
    refuse_other_direction("hydra.sweeper.direction", direction, cfg.monitor, better, words=("maximize", "minimize"))
    monitors = {"monitor": cfg.monitor} | {f"{home}.monitor": part.monitor for home, part in parts}
    chosen = {key_of(word) for word in words_given()}
    absent = {
        name: value for name, value in monitors.items() if str(value).startswith("val/") and value not in measured
    }
    for name, value in absent.items():
        shown = ", ".join(measured[:NUM_MEASURES]) + (", ..." if len(measured) > NUM_MEASURES else "")
        told = f"{name}={value} is never measured: this run measures {shown}; give {name}= one of them"
        if name in chosen or (name == "monitor" and direction is not None):  # a search lives by it
            raise UserError(told)
        if trainer.is_global_zero and (name == "monitor" or value != cfg.monitor):
            log.warning("%s, or the last checkpoint is taken as the best and nothing stops early", told)


def refuse_other_direction(
    name: str, stated: str | None, monitor: str | None, better: Mapping[str, str], *, words: tuple[str, str]
) -> None:
    """Raise where a setting takes the worst value of a measure for the best.

    Args:
        name, stated: of the setting; None takes the measure's own direction.
        monitor: the measure.
        better: of measures, "higher" or "lower".
        words: what the setting calls the two.

    Raises:
        UserError: naming the setting.
    """
    own = better.get(str(monitor))
    if stated is None or own is None or stated == words[own == "lower"]:
        return
    raise UserError(
        f"{name}={stated}, and of {monitor} the {own} value is the better one: give {name}={words[own == 'lower']}"
    )


def leave_out_unfit_parts(cfg: DictConfig) -> None:
    """Set to null, in the config, the parts that its system cannot use beside its other parts; those that the user
    chose stay, and are refused by name when they are built.
    """
    unfit_parts = getattr(hydra.utils.get_class(cfg.system._target_), "unfit_parts", None)
    if unfit_parts is None:
        return
    classes = {
        str(name): hydra.utils.get_method(node._target_) if "_target_" in node else None
        for name, node in cfg.system.items()
        if OmegaConf.is_dict(node)
    }
    chosen = {word.lstrip("+~").partition("=")[0].partition(".")[0] for word in words_given()}
    for name, why in unfit_parts(classes).items():
        if name not in chosen:
            print(f"note: {name} is left out: {why}", flush=True)
            cfg[name] = None


def open_model(path: str) -> Any:
    """Return the FaceModel of a file or folder that a system's setting names, such as a teacher's."""
    from transface.inference.opening import load

    return load(path)


def refuse_other_system(cfg: DictConfig, trained_with: Mapping[str, Any], checkpoint: Path) -> None:
    """Raise where a checkpoint is of a run of another system.

    Raises:
        UserError: naming both.
    """
    old, new = (str((one.get("system") or {}).get("_target_", "")) for one in (trained_with, cfg))
    if old and new and old != new:
        own, other = (target.removeprefix("transface.systems.").partition(".")[0] for target in (old, new))
        raise UserError(
            f"{checkpoint} is of a run of {own}, and this one is of {other}: resume=true resumes it under its own name"
            " and experiment, and another run starts anew"
        )


def ended_before(cfg: DictConfig, checkpoint: Mapping[str, Any]) -> str | None:
    """Return the line to print where a checkpoint is already beyond the end that the command names, else None."""
    done = steps_and_epochs(checkpoint)
    for name in done:
        limit = cfg.trainer.get(name)
        if isinstance(limit, int) and 0 < limit < done[name]:
            return (
                f"nothing is trained: the checkpoint is of step {done['max_steps']} after {done['max_epochs']} whole"
                f" epochs, and trainer.{name}={limit} ends before it; a larger one continues training"
            )
    return None


def has_ended(cfg: DictConfig, checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint is of the very end that the command names."""
    done = steps_and_epochs(checkpoint)
    return any(isinstance(limit := cfg.trainer.get(name), int) and limit == done[name] > 0 for name in done)


def steps_and_epochs(checkpoint: Mapping[str, Any]) -> dict[str, int]:
    """Return how many steps and whole epochs a checkpoint was trained for, by the settings that limit them."""
    loop = checkpoint["loops"]["fit_loop"]
    batches = loop["epoch_loop.batch_progress"]
    at_its_end = batches.get("is_last_batch") and batches["current"]["completed"] < batches["current"]["processed"]
    epochs = int(loop["epoch_progress"]["current"]["processed"]) + bool(at_its_end)
    return {"max_epochs": epochs, "max_steps": int(checkpoint.get("global_step", 0))}


def check_settings(cfg: DictConfig) -> None:
    """Raise where a setting at the top is of the wrong kind: the parts it reaches would not say which one it was.

    Raises:
        UserError: naming it.
    """
    for name, least in (("seed", 0), ("num_nodes", 1), ("gradient_accumulation", 1)):
        value = cfg[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{name} must be a whole number, at least {least}, got {value!r}")
    runs, folder = Path(cfg.paths.runs).resolve(), Path(cfg.paths.run).resolve()
    if runs == folder or (
        runs.is_dir() and runs.is_relative_to(folder)
    ):  # starting anew there would set every other run aside
        raise UserError(
            f"the run's folder would be {cfg.paths.run!r}, which holds all runs: give name=... of a folder below"
            f" {cfg.paths.runs}"
        )
    if isinstance(cfg.devices, str) and cfg.devices != "auto" and not re.fullmatch(r"-?\d+(,\d+)*", cfg.devices):
        raise UserError(f"devices must be a number, a list of them, or auto, got {cfg.devices!r}")
    if cfg.time_budget is not None and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", str(cfg.time_budget)):
        raise UserError(
            "time_budget must be days:hours:minutes:seconds, e.g. '00:11:30:00' (quoted in a file), got"
            f" {cfg.time_budget!r}"
        )
    if cfg.schedule_by not in ("steps", "time_budget"):
        raise UserError(f"schedule_by must be steps or time_budget, got {cfg.schedule_by!r}")
    if cfg.schedule_by == "time_budget" and cfg.time_budget is None:
        raise UserError("schedule_by=time_budget needs time_budget=days:hours:minutes:seconds")


def with_facts(cfg: DictConfig, facts: Mapping[str, Any]) -> DictConfig:
    """Return the config in which every part that leaves a fact of the data to it (num_identities: null) has it.

    Raises:
        UserError: naming a number that is stated and smaller than the data's.
    """
    for node in parts(cfg):
        for name, value in facts.items():
            if name not in node:
                continue
            stated = node[name]
            if isinstance(stated, int) and isinstance(value, int) and stated < value:
                raise UserError(
                    f"{home_of(node, name)} is {stated}, the data has {value}: leave it null to take the data's"
                )
            if stated is None:
                with open_dict(node):
                    node[name] = value
    return cfg


def editable(cfg: DictConfig) -> DictConfig:
    """Return a copy of a config that may be edited."""
    return DictConfig(OmegaConf.to_container(cfg, resolve=False))


def build_trainer(cfg: DictConfig, *, resumed: bool = False) -> Any:
    """Return the Lightning trainer with its callbacks and loggers; those of a resumed run continue in the same run of
    their service.
    """
    from lightning.pytorch.callbacks import LearningRateMonitor

    from transface.training.callbacks.rank_failures import RankFailures
    from transface.training.callbacks.schedule_by_time import ScheduleByTime
    from transface.training.checkpoints.writer import CheckpointWriter

    loggers = make_loggers(cfg.logger, folder=Path(cfg.paths.run) if resumed else None)
    callbacks = [
        RankFailures(cfg.paths.run, user_line=user_line, failure_line=failure_line, is_late=is_late),
        *(instantiate(node) for node in cfg.callbacks.values() if node),
    ]
    if not loggers:  # it raises where nobody is told
        callbacks = [part for part in callbacks if not isinstance(part, LearningRateMonitor)]
    if cfg.schedule_by == "time_budget":
        callbacks.append(ScheduleByTime())
    for writer in callbacks:
        if isinstance(writer, CheckpointWriter):
            writer.config = plain(cfg)
    return instantiate(cfg.trainer, callbacks=callbacks, logger=loggers or False)


def validations_of(trainer: Any) -> list[Any]:
    """Return the callbacks that validate."""
    from transface.evaluation.validation import ProtocolValidation

    return [part for part in trainer.callbacks if isinstance(part, ProtocolValidation)]


def finish(cfg: DictConfig, trainer: Any, module: Any, *, config: Mapping[str, Any] | None = None) -> float | None:
    """Write the results of the last validation and the report on rank 0, and return the monitored metric; `config` is
    what the weights were trained with, None: cfg.
    """
    validations = validations_of(trainer)
    for part in validations:
        part.validate_after_all(trainer, module)
    if trainer.is_global_zero:
        if module.validated_at == trainer.global_step:
            write_results(Path(cfg.paths.run), validations, plain(cfg) if config is None else config)
        if cfg.get("report"):
            write_report(Path(cfg.paths.run))
    value = trainer.callback_metrics.get(cfg.monitor)
    if cfg.monitor and value is None and module.validated_at >= 0 and trainer.is_global_zero:
        log.warning(
            "monitor=%s was never measured: there are %s",
            cfg.monitor,
            ", ".join(n for n in trainer.callback_metrics if n.startswith("val/")),
        )
    return None if value is None else float(value)


def write_results(folder: Path, validations: Iterable[Any], config: Mapping[str, Any]) -> None:
    """Write what the final weights were validated with to results/, so that runs and trials can be compared pair by
    pair.
    """
    from transface.evaluation.protocol import stamped
    from transface.evaluation.results import write_result

    results = [result for part in validations for result in part.results]
    checkpoint = str(folder / "checkpoints" / "last")
    for result in stamped(
        results, label=folder.name, checkpoint=checkpoint, config=dict(config), commit=code_commit() or ""
    ):
        write_result(result, folder / "results")


def write_before(cfg: DictConfig, results: Iterable[Any]) -> None:
    """Write and print what the network reached before the first step, on rank 0; the report shows it as a row."""
    from transface.distributed import rank
    from transface.evaluation.protocol import stamped
    from transface.evaluation.results import write_result
    from transface.reports.reading.runs import BEFORE

    if rank() != 0:
        return
    folder = Path(cfg.paths.run)
    label = f"{BEFORE}, {folder.name}"
    for result in stamped(results, label=label, config=plain(cfg), commit=code_commit() or ""):
        write_result(dataclasses.replace(result, role="baseline"), folder / "results" / "before")
        if result.measures:
            print(f"{BEFORE}: {result.name} {result.measures[0].name} {result.measures[0].value:.4f}", flush=True)


def write_report(folder: Path) -> None:
    """Write the run's report; a run without anything to report has none, and a report that fails costs the run
    nothing.
    """
    from transface.cli.report import report_runs

    try:
        report_runs([str(folder)], {}, ("html", "md"))
    except (ValueError, OSError) as error:
        log.info("no report of %s: %s", folder, one_line(str(error)))
    except (
        Exception
    ) as error:  # ours: the trained weights and their results are written, and a sweep has more trials to run
        log.warning(
            "no report of %s: %s: %s; 'transface report %s' shows where",
            folder,
            type(error).__name__,
            one_line(str(error)),
            folder,
        )
