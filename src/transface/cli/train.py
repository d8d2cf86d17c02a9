"""`transface train`: compose, build data, module and trainer, fit, report."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from transface.cli.compose import instantiate, plain, run_verb
from transface.cli.errors import UserError, user_line
from transface.cli.launching import children_repeat
from transface.cli.loggers import make_loggers
from transface.cli.repeat import repeat_of
from transface.cli.run_folder import code_commit, open_run, record_run
from transface.cli.sweeps import in_trials

log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Run `transface train` with Hydra overrides."""
    repeat = repeat_of(argv)
    if repeat is None:
        run_verb("train", argv, in_trials(train))
    else:
        run_verb(repeat.name, repeat.words, in_trials(train), folder=repeat.folder)
    return 0


def train(cfg: DictConfig) -> float | None:
    """Train what the config describes; return the monitored metric (what a sweep optimises) or None."""
    folder = Path(cfg.paths.run)
    resume = open_run(folder, resume=cfg.resume)
    cfg = settle(cfg)
    record_run(folder, plain(cfg), composed=cfg)

    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    lightning.seed_everything(cfg.seed, verbose=False)
    data = instantiate(cfg.data)
    cfg = with_num_identities(cfg, data.num_identities)
    record_run(folder, plain(cfg), composed=cfg)
    module = instantiate(cfg.system)
    trainer = build_trainer(cfg)
    with children_repeat(folder, resume=cfg.resume):
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=None if resume is None else True)
        return finish(cfg, trainer)


def settle(cfg: DictConfig) -> DictConfig:
    """Return a copy that may be edited."""
    return DictConfig(OmegaConf.to_container(cfg, resolve=False))


def with_num_identities(cfg: DictConfig, num_identities: int) -> DictConfig:
    """Return the config with the classifier's number of identities taken from the data where it was left to it."""
    stated = cfg.classifier.get("num_identities")
    if stated is not None and stated < num_identities:
        raise UserError(f"classifier.num_identities is {stated}, the data has {num_identities}: leave it null to take the data's")
    with open_dict(cfg):
        cfg.classifier.num_identities = stated or num_identities
    return cfg


def build_trainer(cfg: DictConfig) -> Any:
    """Return the Lightning trainer with its callbacks and loggers."""
    from transface.training.checkpoints import CheckpointWriter
    from transface.training.rank_failures import RankFailures

    callbacks = [RankFailures(cfg.paths.run, user_line=user_line), *(instantiate(node) for node in cfg.callbacks.values() if node)]
    for writer in callbacks:
        if isinstance(writer, CheckpointWriter):
            writer.config = plain(cfg)
    return instantiate(cfg.trainer, callbacks=callbacks, logger=make_loggers(cfg.logger) or False)


def finish(cfg: DictConfig, trainer: Any) -> float | None:
    """Write the results of the last validation on rank 0 and return the monitored metric."""
    if trainer.is_global_zero:
        write_results(cfg, trainer)
    value = trainer.callback_metrics.get(cfg.monitor)
    return None if value is None else float(value)


def write_results(cfg: DictConfig, trainer: Any) -> None:
    """Write what the final weights were validated with to results/, so that runs and trials can be compared pair by pair."""
    from transface.evaluation.in_training import ProtocolValidation
    from transface.evaluation.results import write_result

    folder = Path(cfg.paths.run)
    for part in trainer.callbacks:
        if not isinstance(part, ProtocolValidation) or getattr(trainer.lightning_module, "validated_at", -1) != trainer.global_step:
            continue
        for result in part.results:
            stated = {"label": folder.name, "checkpoint": str(folder / "checkpoints" / "last"), "config": plain(cfg), "commit": code_commit() or ""}
            write_result(dataclasses.replace(result, provenance=dataclasses.replace(result.provenance, **stated)), folder / "results")
