"""docs/extend/: each page does what it says: its files are written, its commands are run, its programs print."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transface.__main__ import main
from transface.synthetic.datasets import write_identity_pack

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "extend"
BLOCK = re.compile(r"^```(python|yaml|bash)\n(.*?)^```", re.S | re.M)
FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")
# What makes a training of the pages short: they name a data set of their readers.
SHORT = {
    "experiment=demo": (
        "data.root=pack",
        "validation.pair_sets=[]",
        "trainer.max_epochs=1",
        "backbone.depth=1",
        "data.num_workers=0",
        "data.total_batch_size=8",
    ),
    "experiment=faceptor/small": (
        "trainer.max_epochs=1",
        "data.steps_per_epoch=2",
        "data.tasks.identity.batch_size=4",
        "backbone.depth=1",
        "backbone.layers=[0]",
        "network.read_layers=[0]",
        "network.num_layers=1",
    ),
    "train": ("trainer=cpu", "logger=csv", "schedule.warmup_epochs=0", "report=false"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages speak of: a pack of people, a folder of faces, pictures of heads with their yaw."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    generator = np.random.default_rng(0)
    write_identity_pack(tmp_path / "pack", 4, images_per_identity=4)
    (tmp_path / "faces").mkdir()
    for index in range(6):
        pixels = generator.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "faces" / f"{index}.png")
    (tmp_path / "poses").mkdir()
    with (tmp_path / "poses" / "poses.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "yaw", "part"])
        for index in range(64):
            yaw = float(generator.uniform(-60, 60))
            shade = np.linspace(128 - yaw, 128 + yaw, 48)[None, :, None]
            pixels = np.broadcast_to(shade, (48, 48, 3)) + generator.normal(0, 4, (48, 48, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "poses" / f"{index}.png")
            rows.writerow([f"{index}.png", f"{yaw:.1f}", "train" if index < 48 else "val"])
    return tmp_path


def write_files(page: str, folder: Path) -> list[tuple[str, str]]:
    """Write the files of a page and return what is left to run: (kind, text) in order."""
    left = []
    for kind, text in BLOCK.findall((PAGES / page).read_text(encoding="utf-8")):
        named = FILE.match(text)
        if named is None:
            left.append((kind, text))
            continue
        file = folder / named[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text[named.end() :], encoding="utf-8")
    return left


def run(kind: str, text: str) -> None:
    """Run the commands or the program, in this process."""
    if kind == "python":
        exec(compile(text, "page", "exec"), {})
        return
    for line in text.splitlines():
        words = [word for word in shlex.split(line) if word != "PYTHONPATH=."]
        assert words[0] == "transface", line
        extra = [word for name, more in SHORT.items() if name in words for word in more]
        if "backbone=tiny_net" in words:
            extra.remove("backbone.depth=1")
        assert main([*words[1:], *extra]) == 0, line


def do(page: str, folder: Path) -> None:
    for kind, text in write_files(page, folder):
        run(kind, text)


def test_every_page_of_the_folder_is_tried_here() -> None:
    tried = set(re.findall(r'"(add_\w+\.md)"', Path(__file__).read_text(encoding="utf-8")))
    assert {path.name for path in PAGES.glob("*.md")} == tried


def test_a_margin_trains(folder: Path) -> None:
    do("add_a_margin.md", folder)
    assert "linear_margin.LinearMargin" in (folder / "runs" / "linear" / "config.yaml").read_text()
    assert (folder / "runs" / "linear" / "checkpoints" / "last").exists()


def test_a_backbone_trains_and_is_opened(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    do("add_a_backbone.md", folder)
    assert "torch.Size([1, 128])" in capsys.readouterr().out


def test_a_protocol_measures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    do("add_a_protocol.md", folder)
    assert "mirror" in capsys.readouterr().out
    (file,) = (folder / "mirror").rglob("*.json")
    (measure,) = json.loads(file.read_text())["measures"]
    assert measure["name"] == "mirror_cosine"
    assert measure["low"] < measure["value"] < measure["high"] <= 1


def test_a_kind_of_label_is_read_and_mirrored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    do("add_a_label_kind.md", folder)
    said = capsys.readouterr().out
    assert "torch.Size([3, 3, 48, 48])" in said
    values = [float(value) for line in re.findall(r"tensor\(\[(.*?)\]\)", said) for value in line.split(",")]
    assert values[3] == -values[0] != 0
    assert values[4:] == values[1:3]


def test_a_task_of_the_generalist_trains_is_measured_and_predicted(folder: Path) -> None:
    do("add_a_task.md", folder)
    answers = json.loads((folder / "turns.json").read_text())
    assert len(answers) == 64
    assert {one["faces"][0]["outputs"]["turn"]["label"] for one in answers} <= {"left", "ahead", "right"}
    assert "val/turn_val/accuracy" in (folder / "runs" / "turn" / "metrics.csv").read_text().splitlines()[0]


def test_a_table_of_yes_and_no_is_a_task_by_its_yaml_alone(folder: Path) -> None:
    write_files("add_a_task.md", folder)
    lines = [f"{name},{split},{value}" for name, split, value in zip(
        sorted(path.name for path in (folder / "faces").iterdir()), ["train"] * 4 + ["val"] * 2, (1, 0, -1, 1, 1, 0),
        strict=True,
    )]  # fmt: skip
    (folder / "faces" / "smiles.csv").write_text("\n".join(["path,split,wide_smile", *lines]))
    run(
        "bash",
        "transface train --config-dir my_conf experiment=faceptor/small task=[identity,smile] identity.root=pack"
        " smile.root=faces/smiles.csv data.tasks.smile.batch_size=2 name=smile",
    )
    assert "val/smiles_val/accuracy" in (folder / "runs" / "smile" / "metrics.csv").read_text().splitlines()[0]


def test_a_system_trains_is_swept_reported_exported_and_predicts(folder: Path) -> None:
    write_files("add_a_label_kind.md", folder)
    do("add_a_system.md", folder)
    (answer,) = json.loads((folder / "answers.json").read_text())
    yaw = answer["faces"][0]["outputs"]["yaw"]
    assert yaw["unit"] == "degrees"
    assert (folder / "pose.onnx").is_file()
    assert (folder / "runs" / "seeds" / "report" / "report.html").is_file()
