"""Loggers are built from their group; a package that is not there is named with the command that brings it."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from omegaconf import OmegaConf

from transface.cli.config.errors import UserError
from transface.cli.runs.loggers import close_loggers, log_config, make_loggers


def test_loggers_are_built_in_order_and_empty_ones_left_out(tmp_path: Path) -> None:
    csv = {"_target_": "transface.training.logging.metrics_file.MetricsFile", "folder": str(tmp_path)}
    board = {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": str(tmp_path)}
    loggers = make_loggers(OmegaConf.create({"csv": csv, "other": None, "board": board}))
    assert [type(logger).__name__ for logger in loggers] == ["MetricsFile", "TensorBoardLogger"]
    assert make_loggers(OmegaConf.create({})) == []


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ModuleType("a_logger_for_tests")

    class WandbLogger:
        def __init__(self) -> None:
            raise ModuleNotFoundError("Requirement 'wandb' not met")

    absent.WandbLogger = WandbLogger  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_logger_for_tests", absent)
    with pytest.raises(UserError, match=r"^logger.wandb needs a package that is not installed: pip install wandb, "):
        make_loggers(OmegaConf.create({"wandb": {"_target_": "a_logger_for_tests.WandbLogger"}}))


class WandbLogger:
    """Stands for Lightning's: a run of a service, with an id."""

    def __init__(self, id: str | None = None) -> None:
        self.version, self.told = id or "fresh", []

    def log_hyperparams(self, config: dict[str, object]) -> None:
        self.told.append(config)


def test_a_service_is_told_the_config_once_and_a_resumed_run_goes_on_in_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ModuleType("a_service_for_tests")
    service.WandbLogger = WandbLogger  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_service_for_tests", service)
    cfg = OmegaConf.create({"wandb": {"_target_": "a_service_for_tests.WandbLogger"}})
    (first,) = make_loggers(cfg, folder=tmp_path)
    assert first.version == "fresh"
    first.version = "17"  # known once the service has begun the run
    log_config([first], {"seed": 1}, folder=tmp_path)
    (second,) = make_loggers(cfg, folder=tmp_path)
    assert second.version == "17"
    log_config([second], {"seed": 1}, folder=tmp_path)
    assert (first.told, second.told) == ([{"seed": 1}], [])
    assert make_loggers(cfg, folder=tmp_path / "another")[0].version == "fresh"


def test_another_error_of_a_logger_is_not_hidden() -> None:
    with pytest.raises(Exception, match="folder"):
        make_loggers(OmegaConf.create({"csv": {"_target_": "transface.training.logging.metrics_file.MetricsFile"}}))


def test_a_wandb_run_of_one_trial_is_ended_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    fake = SimpleNamespace(run=object(), finish=lambda: ended.append(True))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    close_loggers()
    assert ended == [True]
    fake.run = None
    close_loggers()
    monkeypatch.delitem(sys.modules, "wandb")
    close_loggers()
    assert ended == [True]
