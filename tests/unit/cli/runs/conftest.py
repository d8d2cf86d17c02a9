"""Sweeps without training, as tests of trials and of searches start them."""

import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig
from tests.unit.cli.runs.sweeping import Stopped, Sweep

from transface.cli.config.compose import run_verb
from transface.cli.runs.trials import in_trials


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Start a sweep whose trials return lr x K; return the names of those that ran. `stop_after` trials it is killed in
    the next one.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces" / "of" / "mine").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["transface"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def start(*words: str, stop_after: int | None = None, fail: str = "") -> list[str]:
        ran: list[str] = []

        def task(cfg: DictConfig) -> float:
            if stop_after is not None and len(ran) == stop_after:
                raise Stopped
            ran.append(cfg.name)
            assert Path(cfg.checkpoint.folder) == Path(cfg.paths.run) / "checkpoints"
            if fail and fail in cfg.name:
                raise RuntimeError("out of memory")
            (Path(cfg.paths.run) / "metrics.csv").write_text(str(cfg.resume))
            return float(cfg.optimizer.lr * cfg.perturbation.num_patches)

        run_verb("train", ["data.root=faces/of/mine", *words], in_trials(task))
        return ran

    return start
