"""A setting that nothing reads is refused, wherever it was written: Hydra takes a misspelt key of a file for a new
one.
"""

import os
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from transface.cli.config.compose import compose, conf_folder, instantiate, refuse_unknown, run_verb
from transface.cli.config.errors import UserError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["+seeed=1"], "no setting 'seeed', nothing reads it: did you mean seed"),
        (["+trainr.max_epochs=3"], "no setting 'trainr', .* did you mean trainer"),
        (
            ["+validation.every_n_epoch=2"],
            "no setting 'validation.every_n_epoch', .* did you mean validation.every_n_epochs",
        ),
        (["+paths.rnus=x"], "no setting 'paths.rnus', .* did you mean paths.runs"),
        (["+callbacks.early_stoping.patience=2"], "no setting 'callbacks.early_stoping'"),
        (["+logger.csvv.folder=x"], "no setting 'logger.csvv'"),
    ],
)
def test_a_misspelt_setting_is_named_with_what_is_near(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        refuse_unknown(compose("train", words), "train")


def test_what_ran_before_in_a_process_does_not_change_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = list(sys.argv)
    before = HydraConfig.initialized()
    run_verb("train", ["system=attributes", "data.root=x", "plan=true"], lambda cfg: None)
    assert sys.argv == words
    assert HydraConfig.initialized() is before
    refuse_unknown(compose("train", ["experiment=demo"]), "train")


def test_the_settings_of_a_sweep_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-m", "seed=1,2", "data.root=x", "plan=true", "hydra.sweep.dir=out"]
    save = OmegaConf.save
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises((OSError, SystemExit)):  # Hydra's own exit
            run_verb("train", words, lambda cfg: None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == []
    assert OmegaConf.save is save
    run_verb("train", words, lambda cfg: 0)
    assert OmegaConf.load(tmp_path / "out" / "multirun.yaml").data.root == "x"


def test_what_another_setting_refers_to_is_read() -> None:
    refuse_unknown(compose("train", ["+base_rate=0.1", "optimizer.lr=${base_rate}"]), "train")


def test_a_mapping_given_for_what_is_null_by_default_is_a_value() -> None:
    refuse_unknown(compose("train", ["plan_facts={num_images: 9, label_names: [a, b]}"]), "train")


def test_own_callbacks_and_absent_parts_are_no_mistake() -> None:
    part = "{_target_: lightning.pytorch.callbacks.DeviceStatsMonitor}"
    refuse_unknown(
        compose("train", [f"+callbacks.mine={part}", "~callbacks.progress", "callbacks.stuck=null", "logger=none"]),
        "train",
    )


def test_every_verb_knows_its_own_settings() -> None:
    for path in sorted(conf_folder().glob("*.yaml")):
        refuse_unknown(compose(path.stem, []), path.stem)
        with pytest.raises(UserError, match="no setting 'checkpiont'"):
            refuse_unknown(compose(path.stem, ["+checkpiont=x"]), path.stem)


def test_building_a_part_leaves_the_interpolations_of_what_it_refers_to() -> None:
    words = {"names": ["a", "b"], "inner": {"_target_": "builtins.dict", "x": "${names}"}}
    cfg = DictConfig(words | {"outer": {"_target_": "builtins.dict", "parts": ["${inner}"]}})
    assert instantiate(cfg.outer) == {"parts": [{"x": ["a", "b"]}]}
    assert OmegaConf.to_container(cfg, resolve=False)["inner"]["x"] == "${names}"  # type: ignore[index, call-overload]
