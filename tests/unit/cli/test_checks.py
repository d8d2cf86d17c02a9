"""`transface checks` says what is here and what is missing, and fails only where nothing can work."""

import json
from pathlib import Path

import pytest
import torch

from transface.__main__ import main
from transface.cli import checks
from transface.synthetic.datasets import write_identity_pack


def found(capsys: pytest.CaptureFixture[str], folder: Path, code: int = 0) -> dict:
    assert main(["checks", "--json", "--data", str(folder), "--runs", str(folder / "none" / "runs")]) == code
    return json.loads(capsys.readouterr().out)


def test_versions_devices_and_free_disk_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = found(capsys, tmp_path / "absent")
    assert told["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert told["devices"][0]["device"] == "cpu"
    assert told["data"] == {"folder": str(tmp_path / "absent"), "exists": False, "sets": []}
    assert all(space > 0 for space in told["disk"].values())


def test_data_sets_are_found_with_what_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_identity_pack(tmp_path / "demo", 3, images_per_identity=2)
    (tmp_path / "demo" / "lfw.bin").write_bytes(b"")
    (tmp_path / "demo" / "ijbc" / "meta").mkdir(parents=True)
    (tmp_path / "demo" / "ijbc" / "meta" / "ijbc_face_tid_mid.txt").write_text("")
    sets = {one["kind"]: one["use"] for one in found(capsys, tmp_path)["data"]["sets"]}
    assert sets["InsightFace pack of 3 people"] == f"train data.root={tmp_path / 'demo'}"
    assert sets["pair sets lfw.bin"].endswith(f"protocol.files=[{tmp_path / 'demo'}/lfw.bin]")
    assert sets["IJB-C"] == f"evaluate protocol=ijbc protocol.root={tmp_path / 'demo' / 'ijbc'}"


def test_a_missing_package_names_the_verb_that_needs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "has_module", lambda name: name != "onnxruntime")
    missing = {one["what"]: one for one in found(capsys, tmp_path)["missing"]}
    assert missing["export format=onnx"]["packages"] == ["onnxruntime"]
    assert main(["checks", "--data", str(tmp_path)]) == 0
    assert "export format=onnx: no onnxruntime; pip install 'transface[export]'" in capsys.readouterr().out


def test_a_package_that_every_verb_needs_makes_it_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.importlib.metadata, "requires", lambda _: ["torch>=999", "no-such-package>=1"])
    told = found(capsys, tmp_path, code=1)
    assert told["required_missing"][0].startswith("torch>=999 (2")
    assert told["required_missing"][1] == "no-such-package>=1 (not installed)"


def test_the_search_needs_optuna_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    assert "sweep=optuna" not in json.dumps(found(capsys, tmp_path)["missing"])
