"""Attributes from made-up people to an exported file: trained, killed and resumed, predicted by name, ended early,
exported with names and thresholds.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import transface
from transface.__main__ import main
from transface.evaluation.results import read_arrays, read_results
from transface.synthetic.labelled_sets import write_attribute_folder

ROOT = Path(__file__).parents[2]
LABELS = ["Smiling", "Eyeglasses", "Male", "Bald"]
SETTINGS = (
    "experiment=mzts/demo",
    "data.root=faces",
    "data.without=[]",
    f"data.labels=[{','.join(LABELS)}]",
    "data.num_workers=0",
    "data.total_batch_size=5",
    "backbone.input_size=[32,24]",
    "backbone.model_settings={embed_dim: 16, depth: 4, num_heads: 2, patch_size: 8}",
    "schedule.warmup_epochs=0",
    "trainer.log_every_n_steps=1",
    "checkpoint.every_n_steps=3",
    "validation.every_n_epochs=1",
    "~callbacks.progress",
    "report=false",
)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "transface", "train", *SETTINGS, "trainer.max_epochs=3", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def content_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(run / "checkpoints" / "last" / "trainer.ckpt", weights_only=True)
    return found


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made-up people of whom 23 images train: the last batch of an epoch is uneven."""
    root = tmp_path_factory.mktemp("attributes")
    write_attribute_folder(root / "faces", num_identities=10, images_per_identity=4, seed=1)
    return root


@pytest.fixture(scope="module")
def trained(room: Path) -> Path:
    done = subprocess.run(command("name=whole"), cwd=room, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return room / "runs" / "whole"


@pytest.fixture
def call(room: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(room)
    return lambda *words: main(list(words))


@pytest.fixture
def photo(room: Path) -> str:
    return str(room / "faces" / "img_align_celeba" / "000003.jpg")


@pytest.mark.slow
def test_a_killed_run_ends_bit_for_bit_where_the_whole_one_does(room: Path, trained: Path) -> None:
    process = subprocess.Popen(command("name=killed"), cwd=room, env=environment(), stdout=subprocess.DEVNULL)
    folder = room / "runs" / "killed" / "checkpoints"
    for _ in range(6000):
        if any(folder.glob("step-*")) or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run(
        command("name=killed", "resume=auto"), cwd=room, env=environment(), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    whole, resumed = content_of(trained), content_of(room / "runs" / "killed")
    assert whole["state_dict"].keys() == resumed["state_dict"].keys()
    assert all(torch.equal(whole["state_dict"][name], value) for name, value in resumed["state_dict"].items())
    assert whole["transface"]["network"] == resumed["transface"]["network"], "names and thresholds too"


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_with_an_uneven_last_batch(room: Path) -> None:
    # Each process draws its own flips, so nothing is flipped; in float64 the sums of both ways agree.
    calm = ("data.total_batch_size=4", "system.flip_probability=0", "trainer.precision=64-true", "optimizer=sgd")
    for name, own in {"one": [], "two": ["trainer.strategy=ddp", "devices=2"]}.items():
        words = command(f"name={name}", *calm, "optimizer.lr=0.05", "trainer.accelerator=cpu", *own)
        done = subprocess.run(words, cwd=room, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    one, two = (content_of(room / "runs" / name)["state_dict"] for name in ("one", "two"))
    assert any(name.endswith(".bias") and float(value.abs().max()) > 1e-4 for name, value in one.items()), "trained"
    for name, value in one.items():
        assert torch.allclose(value, two[name], rtol=1e-9, atol=1e-12), name


def test_names_order_and_thresholds_are_in_checkpoint_folder_onnx_and_card(
    call: Callable[..., int], trained: Path, room: Path
) -> None:
    own = content_of(trained)["transface"]["network"]
    assert own["label_names"] == LABELS
    (result,) = read_results([trained / "results"])
    assert own["thresholds"] == pytest.approx(read_arrays(result)["thresholds"].tolist())
    # A run is opened at its best checkpoint, which states the thresholds of its own validation.
    thresholds = list(transface.load(trained).describe()["attributes"]["thresholds"])
    assert call("export", "checkpoint=runs/whole", "output=faces.onnx") == 0
    assert call("export", "checkpoint=runs/whole", "format=safetensors", "output=folder") == 0
    stated = {entry.key: entry.value for entry in onnx.load(room / "faces.onnx").metadata_props}
    (output,) = json.loads(stated["transface.outputs"]).items()
    assert output[0] == "attributes"
    assert output[1]["names"] == LABELS
    assert output[1]["thresholds"] == pytest.approx(thresholds)
    card = (room / "folder" / "README.md").read_text()
    assert ", ".join(f"{name} ({value:.3f})" for name, value in zip(LABELS, thresholds, strict=True)) in card
    for opened in (trained, room / "faces.onnx", room / "folder"):
        described = transface.load(opened).describe()["attributes"]
        assert described["names"] == LABELS
        assert described["thresholds"] == pytest.approx(thresholds)


def test_predict_prints_named_probabilities_and_python_gives_the_same(
    call: Callable[..., int], trained: Path, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("predict", photo, "checkpoint=runs/whole", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    answers = told["faces"][0]["outputs"]["attributes"]
    assert list(answers) == LABELS
    values = transface.load(trained, device="cpu").predict(photo)["attributes"][0]
    assert list(answers.values()) == pytest.approx(values.tolist(), abs=1e-5)
    assert call("predict", photo, "checkpoint=runs/whole", "labels=[Bald,Smiling]") == 0
    shown = capsys.readouterr().out
    assert "Bald" in shown
    assert "Smiling" in shown
    assert "Male" not in shown
    assert call("predict", photo, "checkpoint=runs/whole", "predict.labels=[Wings]") == 2
    assert call("predict", photo, "checkpoint=runs/whole", "labels=[Wings]") == 2
    assert "the model knows no Wings" in capsys.readouterr().err


def test_a_stripped_export_has_one_head_and_answers_as_the_run_does(
    call: Callable[..., int], trained: Path, room: Path, photo: str
) -> None:
    for form, output in (("safetensors", "stripped"), ("onnx", "stripped.onnx")):
        assert call("export", "checkpoint=runs/whole", f"format={form}", f"output={output}") == 0
    wanted = transface.load(trained, device="cpu").predict(photo)["attributes"]
    folder = transface.load(room / "stripped", device="cpu")
    network: Any = folder.backbone
    assert list(network.heads) == ["zone_4"]
    assert torch.equal(folder.predict(photo)["attributes"], wanted)
    torch.testing.assert_close(
        transface.load(room / "stripped.onnx").predict(photo)["attributes"], wanted, rtol=1e-4, atol=1e-4
    )


def test_every_verb_ends_at_the_exit_asked_for(
    call: Callable[..., int], trained: Path, room: Path, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = transface.load(trained, device="cpu")
    network: Any = model.backbone
    network.exit_at(2)
    wanted = model.predict(photo)["attributes"]
    assert not torch.equal(wanted, transface.load(trained, device="cpu").predict(photo)["attributes"])
    assert call("predict", photo, "checkpoint=runs/whole", "exit=2", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert list(told["faces"][0]["outputs"]["attributes"].values()) == pytest.approx(wanted[0].tolist(), abs=1e-5)
    assert call("export", "checkpoint=runs/whole", "exit=2", "output=early.onnx") == 0
    assert call("export", "checkpoint=runs/whole", "exit=2", "format=safetensors", "output=early") == 0
    for name in ("early.onnx", "early"):
        found = transface.load(room / name, device="cpu").predict(photo)["attributes"]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (room / "early.onnx").stat().st_size < (room / "stripped.onnx").stat().st_size
    assert call("predict", photo, "checkpoint=runs/whole", "exit=5") == 2
    assert "predict must be 'last', 'mean' or 'exit_1'..'exit_4', got 'exit_5'" in capsys.readouterr().err
    assert call("predict", photo, "checkpoint=early", "exit=3") == 2
    assert "stripped for use and ends at zone 2" in capsys.readouterr().err


def test_the_report_shows_bars_zones_and_exits(call: Callable[..., int], trained: Path) -> None:
    assert call("report", str(trained)) == 0
    text = (trained / "report" / "report.md").read_text()
    assert "DMM-CNN" in text
    pictures = {path.stem for path in (trained / "report").glob("*.png")}
    assert {"zone_attention", "exits", "attributes_faces_val"} <= pictures
