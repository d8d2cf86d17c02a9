"""The folder of a run: refuse to mix two runs in it, find where to go on, keep the resolved config and versions beside."""

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from transface.cli.errors import UserError

log = logging.getLogger(__name__)
RESOLVED, COMPOSED = "config.yaml", "composed.yaml"
HELD = ("checkpoints", "metrics.csv", "tensorboard", RESOLVED, "results", "report.md")


def is_main_process() -> bool:
    """Return whether this process speaks for the run: rank 0 under torchrun, SLURM, submitit or Lightning's own launcher."""
    for name in ("RANK", "SLURM_PROCID", "SUBMITIT_LOCAL_GLOBALID"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return int(os.environ.get("LOCAL_RANK", "0")) == int(os.environ.get("NODE_RANK", "0")) == 0


def open_run(folder: Path, *, resume: bool | str) -> Path | None:
    """Return the checkpoint to go on from, or None for a fresh start.

    A fresh start in a folder that holds an earlier run moves that run to `<folder>/previous/<n>`: nothing is overwritten.

    Raises:
        UserError: if there is nothing to resume.
        FileNotFoundError: if the checkpoint named by `resume` is not there.
    """
    from transface.training.checkpoint_files import complete_checkpoints, find_checkpoint
    from transface.training.metrics_file import forget_rows_after

    if isinstance(resume, str) and resume.lower() not in ("true", "false", "auto"):
        return find_checkpoint(resume)
    wanted = str(resume).lower()
    whole = complete_checkpoints(folder / "checkpoints")
    if wanted in ("true", "auto"):
        if whole:
            if is_main_process():
                print(f"going on from {whole[-1]}", flush=True)
                forget_rows_after(folder / "metrics.csv", int(whole[-1].name[5:]))
            return whole[-1] / "trainer.ckpt"
        if wanted == "true":
            raise UserError(f"resume=true, but {folder}/checkpoints has no whole checkpoint: start without resume, or name=... of the run to go on with")
        return None
    if is_main_process() and any((folder / name).exists() for name in HELD):
        set_aside(folder)
    return None


def set_aside(folder: Path) -> None:
    """Move the run a folder holds to `<folder>/previous/<n>`."""
    aside = folder / "previous"
    number = 1 + max((int(path.name) for path in aside.glob("*") if path.name.isdigit()), default=0)
    target = aside / str(number)
    target.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name not in ("previous", ".hydra") and not path.name.endswith(".log"):
            shutil.move(path, target / path.name)
    print(f"{folder} held an earlier run: moved to {target}", flush=True)


def code_commit() -> str | None:
    """Return the commit of the checkout this package runs from, with a + if files were changed, or None."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return None
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if dirty else "")


def record_run(folder: Path, config: dict[str, Any], *, composed: DictConfig | None = None) -> None:
    """Write config.yaml (resolved) and environment.json (versions, commit, machine, command) into the run's folder.

    `composed` is the same config with its interpolations: it goes to composed.yaml, from which run=DIR repeats the run.

    Raises:
        PermissionError: if the folder cannot be written.
    """
    if not is_main_process():
        return
    from transface.training.checkpoint_files import versions

    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RESOLVED, OmegaConf.to_yaml(OmegaConf.create(config)))
    if composed is not None:
        write_whole(folder / COMPOSED, OmegaConf.to_yaml(composed, resolve=False))
    environment = {
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "commit": code_commit(),
        "command": ["transface", *sys.argv[1:]],
        "world_size": os.environ.get("WORLD_SIZE", "1"),
    }
    write_whole(folder / "environment.json", json.dumps(environment, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file in one move: it is there whole or not at all."""
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
