"""A trial of a sweep: its own folder, resumes where it stopped, is not run again once finished. Two processes share no
folder.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write

from transface.artifacts import write_whole
from transface.cli.config.compose import plain
from transface.cli.config.errors import UserError
from transface.cli.runs.changed_settings import flat
from transface.cli.runs.loggers import close_loggers
from transface.cli.runs.run_folder import FINISHED, HELD, LOCK, set_aside
from transface.progress import is_main_process

log = logging.getLogger(__name__)
Task = Callable[[DictConfig], float | None]
TRIAL = "trial.json"
# Two runs that differ in these alone are the same run: where and how it is computed, watched and kept.
WITHOUT_EFFECT = (
    "resume",
    "devices",
    "num_nodes",
    "gradient_accumulation",
    "paths",
    "logger",
    "callbacks",
    "checkpoint",
    "report",
    "data.batch_size",
    "data.num_workers",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.accumulate_grad_batches",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
)


def in_trials(task: Task) -> Task:
    """Return the task as Hydra is to call it: alone as it is, in a sweep as a trial."""

    def run(cfg: DictConfig) -> float | None:
        hydra = HydraConfig.get()
        if hydra.mode != RunMode.MULTIRUN:
            with sole_use(Path(cfg.paths.run), wait=False):
                value = task(cfg)
                if not (Path(cfg.paths.run) / FINISHED).is_file():  # it stays where nothing was trained
                    write_finished(Path(cfg.paths.run), cfg, value)
            return value
        return run_trial(placed(cfg, Path(hydra.runtime.output_dir)), task, list(hydra.overrides.task))

    return run


def placed(cfg: DictConfig, folder: Path) -> DictConfig:
    """Return the config with its run folder and name set to the trial's, so that runs/<name> is its folder."""
    with read_write(cfg), open_dict(cfg):
        cfg.name = str(_below(folder, Path(cfg.paths.runs).absolute()))
        cfg.paths.run = str(_below(folder, Path.cwd()))
    return cfg


def _below(path: Path, base: Path) -> Path:
    return path.relative_to(base) if path.is_relative_to(base) else path


def run_trial(cfg: DictConfig, task: Task, overrides: list[str]) -> float | None:
    """Return the trial's metric: that of its earlier end if it has one with these settings, else by running it, from
    its last checkpoint on.
    """
    folder = Path(cfg.paths.run)
    with sole_use(folder):
        settings = plain(cfg)
        ended = read_json(folder / FINISHED)
        started = read_json(folder / TRIAL)
        changed = changed_settings(
            started.get("config", {}), settings, same_words=started.get("overrides") == overrides
        )
        if ended and not changed:
            log.info("%s: finished before, %s = %s", cfg.name, ended["monitor"], ended["value"])
            return ended["value"]
        begin_or_resume(cfg, changed)
        if is_main_process():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(
                folder / TRIAL, json.dumps({"overrides": overrides, "config": settings}, indent=1, default=str) + "\n"
            )
        try:
            value = task(cfg)
        finally:
            close_loggers()
        write_finished(folder, cfg, value)
        return value


def begin_or_resume(cfg: DictConfig, changed: list[str]) -> None:
    """Let the trial resume from its last checkpoint, or clear its folder of a run that has none or had other
    settings.
    """
    from transface.training.checkpoints.reader import complete_checkpoints

    folder = Path(cfg.paths.run)
    if not changed and complete_checkpoints(folder / "checkpoints"):
        with read_write(cfg):
            cfg.resume = "auto"
        return
    if is_main_process() and any((folder / name).exists() for name in (*HELD, FINISHED)):
        if changed:
            print(f"{folder} is of a trial with other settings: {'; '.join(changed[:5])}", flush=True)
        set_aside(folder)


def changed_settings(before: dict[str, Any], now: dict[str, Any], *, same_words: bool = False) -> list[str]:
    """Return 'key: before -> now' of the settings that bear on the result and differ; [] if there were none before.

    `same_words`: the command was the same, so a key that only one of the two has came or went with the version of
    transface: no change.
    """
    if not before:
        return []
    old, new = flat(before), flat(json.loads(json.dumps(now, default=str)))
    keys = [
        key
        for key in dict.fromkeys([*old, *new])
        if not _without_effect(key) and not (same_words and (key in old) != (key in new))
    ]
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys if old.get(key) != new.get(key)]


def _without_effect(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in WITHOUT_EFFECT)


def write_finished(folder: Path, cfg: DictConfig, value: float | None) -> None:
    """Mark a run as ended, with the metric it ended with."""
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FINISHED, json.dumps({"monitor": cfg.get("monitor"), "value": value}) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file of ours holds, {} if it is not there; raises UserError naming one that is broken."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is broken ({error}): remove it, and the trial resumes from its last checkpoint"
        ) from error


@contextmanager
def sole_use(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a run's folder against other processes of this machine: a stopped sweep may have left one that still runs
    its trial.

    Raises:
        UserError: if another process trains in it and this one is not to wait for its end.
    """
    if not is_main_process() or int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))) > 1:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.lockf(
                lock, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # not flock: loader workers that outlive a killed run for seconds would hold it
        except BlockingIOError:
            if not wait:
                raise UserError(
                    f"another process trains in {folder}: wait for its end, or give name=... of another folder"
                ) from None
            print(f"{folder}: another process still runs this trial; waiting for it", flush=True)
            fcntl.lockf(lock, fcntl.LOCK_EX)
        except OSError:
            log.debug("no locks on the file system of %s", folder)
        yield
