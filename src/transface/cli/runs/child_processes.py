"""What Lightning starts for the other devices of this machine: the same run, from its folder, not the command that
began a sweep.
"""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from transface.cli.config.errors import UserError
from transface.cli.runs.run_folder import COMPOSED

TELL_OF_OTHER_MACHINES = ("MASTER_ADDR", "NODE_RANK", "GROUP_RANK", "SLURM_JOB_ID", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE")
LEFT_BY_LIGHTNING = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def refuse_machine_alone(num_nodes: int) -> None:
    """Raise where a run of several machines begins on one that knows of no other: it would wait for them for ever.

    Raises:
        UserError: saying what has to be set.
    """
    if num_nodes > 1 and not any(name in os.environ for name in TELL_OF_OTHER_MACHINES):
        raise UserError(
            f"num_nodes={num_nodes}, but nothing tells this machine of the others: set MASTER_ADDR, MASTER_PORT and"
            " NODE_RANK on each of them, or start by torchrun or SLURM (docs/cluster.md)"
        )


@contextmanager
def children_repeat(cfg: DictConfig) -> Iterator[None]:
    """Let every process that Lightning starts within the body run `transface train run=...` with this config; leave no
    process group behind.

    Lightning would repeat sys.argv: the verb is not in it, and in a sweep it means all trials. The config is handed on
    in a folder of its own: the run's is written by the first machine, which may begin after this one.
    """
    main = sys.modules["__main__"]
    argv, spec, hydra = sys.argv, main.__spec__, HydraConfig.instance().cfg
    environment = {name: os.environ.get(name) for name in LEFT_BY_LIGHTNING}
    place = tempfile.TemporaryDirectory(prefix="transface-run-")
    OmegaConf.save(cfg, Path(place.name) / COMPOSED)
    sys.argv = [
        argv[0],
        "train",
        f"run={place.name}",
        f"paths.run={_quoted(cfg.paths.run)}",
        f"resume={_word(cfg.resume)}",
        "hydra.output_subdir=null",
    ]
    main.__spec__ = importlib.util.find_spec("transface.__main__")
    HydraConfig.instance().cfg = None
    try:
        yield
    finally:
        sys.argv, main.__spec__ = argv, spec
        HydraConfig.instance().cfg = hydra
        for name, value in environment.items():
            _set(name, value)
        _leave_group()
        place.cleanup()


def _word(resume: str | bool) -> str:
    return str(resume).lower() if isinstance(resume, bool) else _quoted(resume)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _leave_group() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
