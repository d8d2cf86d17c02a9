"""Fine-tuning: the head learns alone first, then the backbone at a lower rate; the report has the row before."""

import csv
from pathlib import Path

import pytest
import torch

from transface.__main__ import main
from transface.evaluation.results import read_result
from transface.synthetic.datasets import write_identity_pack, write_pair_sets
from transface.training.checkpoints.reader import read_checkpoint

NETWORK = ["backbone.depth=1", "backbone.embed_dim=16", "backbone.num_heads=2", "embedding_size=8"]
QUICK = ["data.total_batch_size=8", "data.num_workers=0", "protocol.num_bootstraps=0", "protocol.files=[easy.bin]"]
SMALL = [*NETWORK, *QUICK, "trainer=cpu", "logger=csv"]


def test_the_recipe_leaves_the_backbone_for_an_epoch_and_tells_what_was_reached_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_identity_pack("old", 4, images_per_identity=4)
    write_identity_pack("new", 8, images_per_identity=3, seed=1)
    write_pair_sets(".", 20, num_identities=4)
    words = [
        "train",
        "experiment=demo",
        "backbone=face_vit_demo",
        *SMALL,
        "data.root=old",
        "name=first",
        "report=false",
    ]
    assert main([*words, "trainer.max_epochs=1", "schedule.warmup_epochs=0"]) == 0
    first = read_checkpoint(Path("runs/first/checkpoints/last"))["state_dict"]
    words = ["train", "experiment=transface/finetune", "backbone=face_vit_demo", *SMALL, "data.root=new", "name=tuned"]
    words += ["backbone.weights=runs/first", "checkpoint.every_n_steps=1", "checkpoint.keep=9", "trainer.max_epochs=2"]
    assert main(words) == 0
    said = capfd.readouterr().out
    steps = sorted(Path("runs/tuned/checkpoints").glob("step-*"))
    assert len(steps) == 6  # three an epoch
    moved = []
    for folder in steps:
        state = read_checkpoint(folder)["state_dict"]
        moved.append(any(not torch.equal(value, state[key]) for key, value in first.items() if "network." in key))
    assert moved == [False, False, False, True, True, True]
    before = read_result(Path("runs/tuned/results/before/pair_sets_easy_F1.json"))
    assert before.role == "baseline"
    assert f"before training: easy accuracy {before.measure('accuracy').value:.4f}" in said
    (of_first,) = Path("runs/first/results").glob("*.json")
    assert before.measure("accuracy") == read_result(of_first).measure("accuracy")
    page = Path("runs/tuned/report/report.md").read_text()
    assert "before training, tuned" in page
    rows = list(csv.DictReader(Path("runs/tuned/metrics.csv").read_text().splitlines()))
    first_row = next(row for row in rows if row.get("val/easy/accuracy"))
    assert first_row["step"] == "0"
    assert float(first_row["val/easy/accuracy"]) == before.measure("accuracy").value
