"""What is shared holds for a system that is not recognition: trained, killed, resumed, validated, swept, reported,
exported, opened, used.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.contracts.warm_commands import start

import transface
from transface.__main__ import main
from transface.evaluation.results import read_results

HERE = Path(__file__).parent
SYSTEM = """# @package _global_
data:
  _target_: toy_system.open_data
  root: ???
  total_batch_size: 16
  num_workers: 0
  seed: ${seed}
protocol:
  _target_: toy_system.validation
  root: ${data.root}
network:
  _target_: transface.backbones.headed.HeadedNetwork
  encoder:
    _target_: transface.backbones.timm_encoder.TimmEncoder
    name: test_vit
    image_size: 48
  outputs:
    smiling:
      kind: one_of
      names: ["no", "yes"]
    years:
      kind: number
      unit: years
system:
  _target_: toy_system.ToyModule
  network: ${network}
  years_weight: 1.0
  optimizer: ${optimizer}
  schedule: ${schedule}
  seed: ${seed}
monitor: val/mean/mae
"""
WORDS = (
    "system=toy",
    "trainer=cpu",
    "logger=csv",
    "optimizer.lr=1e-2",
    "schedule=constant",
    "trainer.log_every_n_steps=1",
    "checkpoint.every_n_steps=2",
)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 64 images whose brightness is their age and whose side is their smile, and the system's YAML."""
    root = tmp_path_factory.mktemp("toy")
    generator = np.random.default_rng(0)
    (root / "data").mkdir()
    (root / "conf" / "system").mkdir(parents=True)
    (root / "conf" / "system" / "toy.yaml").write_text(SYSTEM)
    with (root / "data" / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "smiling", "years", "part"])
        for index in range(64):
            years, smiling = float(generator.uniform(10, 70)), int(generator.integers(2))
            pixels = np.full((48, 48, 3), 2.5 * years) + generator.normal(0, 4, (48, 48, 3))
            pixels[:, 24 * smiling : 24 * smiling + 24, 0] += 70
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "data" / f"{index}.png")
            rows.writerow([f"{index}.png", smiling, f"{years:.1f}", "train" if index < 48 else "val"])
    return root


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "src"), str(HERE)]),
        "OMP_NUM_THREADS": "1",
    }


def arguments(*words: str) -> list[str]:
    return ["train", "--config-dir", "conf", *WORDS, "data.root=data", *words]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "transface", *arguments(*words)]


def finished(process: Any, output: Path) -> None:
    """Wait for a command that has to succeed."""
    process.join()
    assert process.exitcode == 0, output.read_text()


@pytest.fixture
def call(room: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line in this process, in the room."""
    monkeypatch.chdir(room)
    monkeypatch.syspath_prepend(str(HERE))

    def run(verb: str, *words: str) -> int:
        return main([verb, *(("--config-dir", "conf", *WORDS, "data.root=data") if verb == "train" else ()), *words])

    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints" / "last" / "trainer.ckpt", weights_only=True)
    assert all(name.startswith("network.") for name in content["state_dict"])
    return content["state_dict"]


@pytest.fixture(scope="module")
def trained(room: Path) -> Path:
    """A run of six epochs by the command line."""
    words = arguments("name=whole", "trainer.max_epochs=6")
    finished(start(words, room, room / "whole.txt", environment=environment()), room / "whole.txt")
    return room / "runs" / "whole"


def test_it_imports_nothing_of_recognition() -> None:
    rooms = "systems.recognition", "evaluation.recognition", "transface.margins", "transface.classifiers"
    code = f"import toy_system, sys; print([name for name in sys.modules if any(room in name for room in {rooms})])"
    found = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_only_what_the_system_reads_is_composed(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "--cfg", "job") == 0
    shown = capsys.readouterr().out
    keys = {line.partition(":")[0] for line in shown.splitlines() if line and not line.startswith((" ", "-", "#"))}
    assert {"data", "network", "system", "protocol", "optimizer"} <= keys
    assert not keys & {"margin", "classifier", "perturbation", "weighting", "embedding_size", "backbone"}


def test_its_best_checkpoint_is_that_of_the_lowest_error(trained: Path) -> None:
    content = torch.load(trained / "checkpoints" / "last" / "trainer.ckpt", weights_only=True)
    writer = next(state for name, state in content["callbacks"].items() if "CheckpointWriter" in name)
    with (trained / "metrics.csv").open(newline="") as file:
        errors = {
            int(row["step"]): float(row["val/mean/mae"]) for row in csv.DictReader(file) if row.get("val/mean/mae")
        }
    assert len(errors) == 6
    assert writer["best_step"] == min(errors, key=errors.__getitem__)
    assert os.readlink(trained / "checkpoints" / "best") == f"step-{writer['best_step']:09d}"
    (result,) = read_results([trained / "results"])
    mae = result.measure("mae")
    assert (result.kind, mae.unit, mae.better) == ("values", "years", "lower")
    assert mae.low is not None
    assert mae.low <= mae.value <= mae.high  # type: ignore[operator]
    assert mae.value == pytest.approx(errors[max(errors)])


def test_a_killed_run_ends_bit_for_bit_where_the_whole_one_does(room: Path, trained: Path) -> None:
    words = arguments("name=killed", "trainer.max_epochs=6")
    process = start(words, room, room / "killed.txt", environment=environment())
    folder = room / "runs" / "killed" / "checkpoints"
    for _ in range(2000):
        if (folder / "step-000000004").exists() or not process.is_alive():
            break
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, (room / "killed.txt").read_text()
    again = start([*words, "resume=auto"], room, room / "again.txt", environment=environment())
    finished(again, room / "again.txt")
    whole, resumed = weights(trained), weights(room / "runs" / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_two_processes_give_the_numbers_of_one(room: Path, trained: Path) -> None:
    words = command("name=two", "trainer.max_epochs=6", "trainer=ddp_cpu", "devices=2")
    done = subprocess.run(words, cwd=room, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (one,), (two,) = read_results([trained / "results"]), read_results([room / "runs" / "two" / "results"])
    assert two.measure("mae").value == pytest.approx(one.measure("mae").value, rel=0.05)
    assert two.counts == one.counts


def test_it_is_opened_and_answers_by_name(trained: Path, room: Path) -> None:
    model = transface.load(trained)
    answers = model.predict([str(room / "data" / f"{index}.png") for index in range(48, 64)])
    assert set(answers) == {"smiling", "years"}
    assert answers["smiling"].shape == (16, 2)
    torch.testing.assert_close(answers["smiling"].sum(1), torch.ones(16))
    (result,) = read_results([trained / "results"])
    with (room / "data" / "labels.csv").open() as file:
        years = [float(row["years"]) for row in csv.DictReader(file) if row["part"] == "val"]
    opened = transface.load(trained / "checkpoints" / "last").predict(
        [str(room / "data" / f"{index}.png") for index in range(48, 64)]
    )
    assert float((opened["years"] - torch.tensor(years)).abs().mean()) == pytest.approx(
        result.measure("mae").value, rel=1e-4
    )
    assert model.describe()["years"] == {"kind": "number", "unit": "years"}
    with pytest.raises(ValueError, match="gives no embedding, it answers smiling, years"):
        model.embed(str(room / "data" / "0.png"))


def test_the_command_line_predicts_in_the_stated_form(
    call: Any, trained: Path, room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (room / "broken").mkdir(exist_ok=True)
    (room / "broken" / "good.png").write_bytes((room / "data" / "50.png").read_bytes())
    (room / "broken" / "half.png").write_bytes((room / "data" / "50.png").read_bytes()[:60])
    assert call("predict", "data/50.png", "checkpoint=runs/whole") == 0
    assert "years" in capsys.readouterr().out
    assert call("predict", "broken", "checkpoint=runs/whole", "output=answers.json", "overlay=drawn") == 1
    good, half = json.loads((room / "answers.json").read_text())
    assert half["faces"] == []
    assert "half.png" in half["image"]
    assert half["error"]
    (face,) = good["faces"]
    assert (face["box"], face["points"]) == (None, None)
    smiling, years = face["outputs"]["smiling"], face["outputs"]["years"]
    assert set(smiling) == {"label", "probability", "probabilities"}
    assert (
        smiling["probabilities"][smiling["label"]] == smiling["probability"] == max(smiling["probabilities"].values())
    )
    assert set(years) == {"value", "unit", "low", "high"}
    assert years["unit"] == "years"
    assert [path.name for path in (room / "drawn").iterdir()] == ["good.png.png"]
    assert call("predict", "broken/good.png", "checkpoint=runs/whole", "output=answers.parquet") == 0
    assert call("embed", "checkpoint=runs/whole", "images=data", "output=vectors.npz") == 2


def test_its_export_has_named_outputs_and_answers_alike(call: Any, trained: Path, room: Path) -> None:
    assert call("export", "checkpoint=runs/whole", "output=toy.onnx") == 0
    assert call("export", "checkpoint=runs/whole", "format=safetensors", "output=toy") == 0
    picture = str(room / "data" / "60.png")
    wanted = transface.load(trained).predict(picture)
    for exported in ("toy.onnx", "toy"):
        model = transface.load(room / exported)
        assert model.describe() == transface.load(trained).describe()
        torch.testing.assert_close(model.predict(picture), wanted, rtol=1e-4, atol=1e-4)
    assert "years" in (room / "toy" / "README.md").read_text()


def test_a_sweep_over_seeds_is_reported_with_intervals_and_the_lowest_error_is_best(call: Any, room: Path) -> None:
    assert (
        call(
            "train",
            "-m",
            "name=swept",
            "trainer.max_epochs=2",
            "system.years_weight=0.01,1.0",
            "seed=0,1,2",
            "report=false",
        )
        == 0
    )
    assert call("report", "sweep=runs/swept") == 0
    text = (room / "runs" / "swept" / "report" / "report.md").read_text()
    assert "MAE (years)" in text
    assert "95 %" in text
    errors = {}
    for folder in (room / "runs" / "swept").glob("*seed*"):
        (result,) = read_results([folder / "results"])
        errors.setdefault(re.sub(r"seed=\d,?", "", folder.name).strip(","), []).append(result.measure("mae").value)
    best = min(errors, key=lambda name: sum(errors[name]))
    assert text.split("Best setting")[1].strip().startswith(f"{best}:")
