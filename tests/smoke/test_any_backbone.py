"""An experiment takes any backbone; what a backbone cannot serve is left out, and said."""

from pathlib import Path

import pytest
import yaml

from transface.__main__ import main
from transface.synthetic.datasets import write_identity_pack

SMALL = [
    "experiment=demo",
    "embedding_size=16",
    "schedule.warmup_epochs=0",
    "data.total_batch_size=4",
    "data.num_workers=0",
    "data.root=faces",
    "trainer.max_epochs=-1",
    "trainer.max_steps=1",
    "validation.pair_sets=[]",
    "logger=csv",
    "report=false",
    "name=small",
]


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_identity_pack(tmp_path / "faces", 2, images_per_identity=2)
    return tmp_path


@pytest.mark.parametrize("backbone", ["iresnet18", "mobilefacenet", "face_vit_t", "timm"])
def test_the_demo_takes_any_backbone(faces: Path, backbone: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["backbone.name=test_vit"] if backbone == "timm" else []
    assert main(["train", *SMALL, f"backbone={backbone}", *words]) == 0
    recorded = yaml.safe_load((faces / "runs" / "small" / "config.yaml").read_text())
    has_patches = backbone in ("face_vit_t", "timm")
    assert (recorded["perturbation"] is not None) == has_patches
    assert (recorded["weighting"] is not None) == has_patches
    assert ("note: perturbation is left out: " in capsys.readouterr().out) != has_patches


def test_a_part_that_was_asked_for_is_refused_and_not_left_out(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL, "backbone=mobilefacenet", "weighting=ehsm"]) == 2
    assert "EHSM needs a backbone with patches, MobileFaceNet has none: set weighting=none" in capsys.readouterr().err
