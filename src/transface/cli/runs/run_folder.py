"""The folder of a run: refuse to mix two runs in it, find where to resume, keep the resolved config and versions
beside.
"""

import json
import logging
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from transface.artifacts import code_commit, package_versions, write_whole
from transface.cli.config.command_line import key_of
from transface.cli.config.errors import UserError
from transface.progress import is_main_process

log = logging.getLogger(__name__)
VARIABLES = (
    "CUDA_",
    "NCCL_",
    "GLOO_",
    "OMP_",
    "MKL_",
    "TORCH",
    "PYTORCH_",
    "SLURM_JOB",
    "SLURM_N",
    "WORLD_SIZE",
    "TRANSFACE_",
)
RESOLVED, COMPOSED = "config.yaml", "composed.yaml"
HELD = ("checkpoints", "metrics.csv", "tensorboard", RESOLVED, "results", "report")
OF_A_SWEEP = (
    "multirun.yaml",
    "study.journal",
    "study.journal.lock",
    "study.lock",
    ".workers",
    "optimization_results.yaml",
    "submitit",
)
FINISHED, TRAINED = "finished.json", "trained.json"
LOCK = (  # held by the process that trains in the folder; it stays where it is, for a moved file holds nobody off
    ".running"
)


def checkpoint_of(folder: Path, *, resume: bool | str) -> Path | None:
    """Return the checkpoint to resume from, or None for a fresh start. Nothing is touched.

    Raises:
        UserError: if there is nothing to resume.
        FileNotFoundError: if the checkpoint named by `resume` is not there.
    """
    from transface.training.checkpoints.reader import complete_checkpoints

    wanted = str(resume).lower()
    if wanted not in ("true", "false", "auto"):
        return named_checkpoint(Path(str(resume)))
    whole = complete_checkpoints(folder / "checkpoints") if wanted != "false" else []
    if wanted == "true" and not whole:
        raise UserError(
            f"resume=true, but {folder}/checkpoints has no whole checkpoint: start without resume, or name=... of the"
            " run to resume"
        )
    return whole[-1] / "trainer.ckpt" if whole else None


def run_name(checkpoint: Path) -> str:
    """Return what a model is called in tables and files: the run's name for anything inside <run>/checkpoints, else the
    name of the folder, or of the file without its ending.

    Example:
        >>> run_name(Path("runs/demo/seed=0.1/checkpoints/best"))
        'seed=0.1'
    """
    for folder in (checkpoint, *checkpoint.parents):
        if folder.name == "checkpoints" and folder.parent.name:
            return folder.parent.name
    return checkpoint.resolve().name if checkpoint.is_dir() else checkpoint.stem


def prepare_folder(folder: Path, checkpoint: Path | None) -> None:
    """Make the run's folder ready: what the run would overwrite is moved to `<folder>/previous/<n>`.

    That is an earlier run where this one starts anew or from another run's checkpoint, and the later checkpoints where
    it resumes from an earlier one of its own. Called once everything is built, so that a mistake in the command costs
    the earlier run nothing.
    """
    if not is_main_process():
        return
    if checkpoint is not None:
        go_on_from(folder, checkpoint.parent)
    elif any((folder / name).exists() for name in HELD):
        set_aside(folder)


def named_checkpoint(path: Path) -> Path:
    """Return the trainer's file of a checkpoint; of a run's folder, its newest.

    Raises:
        FileNotFoundError: if there is none.
    """
    from transface.training.checkpoints.reader import complete_checkpoints, find_checkpoint

    whole = complete_checkpoints(path / "checkpoints") or complete_checkpoints(path)
    return find_checkpoint(whole[-1] if whole else path).resolve()


def is_newest_of(folder: Path, checkpoint: Path) -> bool:
    """Return whether a trainer's file is that of the newest checkpoint of a run's folder."""
    from transface.training.checkpoints.reader import complete_checkpoints

    whole = complete_checkpoints(folder / "checkpoints")
    return bool(whole) and whole[-1].resolve() == checkpoint.resolve().parent


def go_on_from(folder: Path, checkpoint: Path) -> None:
    """Make the run's folder what it was when the checkpoint was written, later checkpoints set aside, or empty if it is
    another run's.
    """
    from transface.training.logging.metrics_file import forget_rows_after

    print(f"resuming from {checkpoint}", flush=True)
    (folder / FINISHED).unlink(missing_ok=True)
    if checkpoint.resolve().parent == (folder / "checkpoints").resolve() and checkpoint.name[5:].isdigit():
        step = int(checkpoint.name[5:])
        set_later_aside(folder, step)
        forget_rows_after(folder / "metrics.csv", step)
        return
    place = checkpoint.resolve()
    own = place.is_relative_to(folder.resolve()) and not place.is_relative_to((folder / "previous").resolve())
    if not own and any((folder / name).exists() for name in HELD):
        set_aside(folder)


def set_later_aside(folder: Path, step: int) -> None:
    """Move to `<folder>/previous/<n>` what the run would take for its own of a later moment: its checkpoints after
    `step`, and what was measured at an earlier end of it (results, report), which is not of the weights it will have.
    """
    from transface.training.checkpoints.reader import complete_checkpoints

    later = [path for path in complete_checkpoints(folder / "checkpoints") if int(path.name[5:]) > step]
    measured = [path for path in (folder / "results").glob("*") if path.is_file()]
    measured += [path for path in (folder / "report", folder / TRAINED) if path.exists()]
    if not later and not measured:
        return
    target = place_aside(folder)
    for path in [*later, *measured]:
        place = target / path.relative_to(folder)
        place.parent.mkdir(exist_ok=True)
        shutil.move(path, place)
    for link in (folder / "checkpoints").iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink()
    words = [f"{len(later)} later checkpoint{'s' if len(later) > 1 else ''}"] if later else []
    words += ["what was measured of it at its earlier end"] if measured else []
    print(f"{' and '.join(words)} moved from {folder} to {target}", flush=True)


def place_aside(folder: Path) -> Path:
    """Return a new folder `<folder>/previous/<n>`."""
    aside = folder / "previous"
    target = aside / str(1 + max((int(path.name) for path in aside.glob("*") if path.name.isdigit()), default=0))
    target.mkdir(parents=True)
    return target


def set_aside(folder: Path) -> None:
    """Move the run a folder holds to `<folder>/previous/<n>`; a sweep of that name, and its trials, stay."""
    target = place_aside(folder)
    for path in folder.iterdir():
        stays = path.name in ("previous", ".hydra", LOCK, *OF_A_SWEEP) or path.name.endswith(".log")
        if not stays and not (path / RESOLVED).is_file():
            shutil.move(path, target / path.name)
    print(f"{folder} held an earlier run: moved to {target}", flush=True)


def record_run(folder: Path, config: dict[str, Any], *, composed: DictConfig | None = None) -> None:
    """Write config.yaml (resolved) into the run's folder.

    `composed` is the same config with its interpolations: it goes to composed.yaml, from which run=DIR repeats the run.

    Raises:
        PermissionError: if the folder cannot be written.
    """
    if not is_main_process():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RESOLVED, OmegaConf.to_yaml(OmegaConf.create(config)))
    if composed is not None:
        write_whole(folder / COMPOSED, OmegaConf.to_yaml(composed, resolve=False))


def environment_of(*, world_size: int, cfg: DictConfig | None = None) -> dict[str, Any]:
    """Return what environment.json says: versions, commit, machine, command, and the variables that bear on a run.
    `cfg` is the run's config: of a trial it holds the place.
    """
    return {
        "versions": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": devices(),
        "cpu_count": os.cpu_count(),
        "world_size": world_size,
        "commit": code_commit(),
        "command": command_of_run(cfg),
        "variables": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(VARIABLES)},
        "packages": dict(sorted((str(part.metadata["Name"]), part.version) for part in metadata.distributions())),
    }


def record_environment(folder: Path, environment: dict[str, Any]) -> None:
    """Write environment.json into the run's folder."""
    if is_main_process():
        write_whole(folder / "environment.json", json.dumps(environment, indent=2) + "\n")


def command_of_run(cfg: Any = None) -> list[str]:
    """Return the words that repeat this run: the verb and the settings given, of a trial of a sweep its own ones and
    its place.

    Words that only say how Hydra works (its folders, launcher and sweeper) are left out; so are the sweep itself, and
    that the run was to resume from its own last checkpoint.
    """
    if not HydraConfig.initialized():
        return ["transface", *sys.argv[1:]]
    job = HydraConfig.get()
    words = [str(word) for word in job.overrides.task if str(word).lower() not in ("resume=true", "resume=auto")]
    config = Path(str(job.job.config_name)).stem
    if config in (COMPOSED.removesuffix(".yaml"), RESOLVED.removesuffix(".yaml")):  # a recorded run, once more
        place = next((source.path for source in job.runtime.config_sources if source.provider == "main"), "")
        kept = [word for word in words if not word.startswith(("paths.run=", "resume="))]
        return ["transface", "train", f"run={place}", *kept]
    of_trial = _place_of_trial(job, cfg)
    replaced = ("sweep", *(word.partition("=")[0] for word in of_trial))
    words = [word for word in words if key_of(word) not in replaced]
    return ["transface", config, *_search_path(job), *words, *of_trial]


def _search_path(job: Any) -> list[str]:
    """Return the words that name the folders of configs besides ours."""
    sources = job.runtime.config_sources
    folders = [
        word for source in sources if source.provider == "command-line" for word in ("--config-dir", source.path)
    ]
    return [*folders, *(str(word) for word in job.overrides.hydra if str(word).startswith("hydra.searchpath="))]


def _place_of_trial(job: Any, cfg: Any) -> list[str]:
    """Return the words that lead a trial that is run alone into its own folder: without them it would run in its
    sweep's.
    """
    if cfg is None or job.mode != RunMode.MULTIRUN:
        return []
    inside = not Path(cfg.name).is_absolute()
    place = [f"name={cfg.name}"] if inside else [f"paths.run={cfg.paths.run}"]
    asked = any(str(word) == "hydra.mode=MULTIRUN" for word in job.overrides.hydra)
    return place if asked else [*place, "hydra.mode=RUN"]  # the experiment itself is a sweep


def devices() -> list[str]:
    """Return the names of this machine's GPUs, [] for none."""
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
