"""Data of all six tasks on real photographs, where they are: opened in the forms they have, and trained together for a
moment.
"""

from pathlib import Path

import pytest
import torch

from transface.__main__ import main

OVERRIDES = (
    "identity.root=cfp500",
    "attributes.root=celeba_subset",
    "age.root=utkface112",
    "expression.root=fer2013",
    "landmarks.root=300w",
    "parsing.root=celebamask_hq",
)
SMALLEST = (
    "batch_size=4",
    "dense_batch_size=2",
    "backbone.width=16",
    "backbone.stem_channels=[4,4,8,8]",
    "backbone.depth=1",
    "backbone.num_heads=2",
    "backbone.layers=[0]",
    "network.width=8",
    "network.num_heads=2",
    "network.feedforward_width=16",
    "network.num_layers=1",
    "network.read_layers=[0]",
    "network.pixel_layers=[]",
    "embedding_size=8",
    "data.steps_per_epoch=2",
    "trainer.max_steps=2",
    "schedule=constant",
    "schedule.warmup_epochs=0",
    "validation.every_n_epochs=null",
    "logger=csv",
    "trainer.log_every_n_steps=1",
    "report=false",
)


@pytest.fixture
def real(shared: Path) -> Path:
    root = shared / "data" / "real"
    missing = [
        word.split("=")[1] for word in OVERRIDES if ".root=" in word and not (root / word.split("=")[1]).is_dir()
    ]
    if missing:
        pytest.skip(f"no real photographs of {', '.join(missing)} in {root}")
    return root


def test_all_six_tasks_of_real_photographs_train_together(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.replace(".root=", f".root={real}/") for word in OVERRIDES]
    assert main(["train", "experiment=faceptor/real", *words, *SMALLEST, "name=real"]) == 0
    state = torch.load(tmp_path / "runs/real/checkpoints/last/trainer.ckpt", weights_only=True)
    shapes = {name: tuple(state["state_dict"][f"network.queries.content.{name}"].shape) for name in
              ("attributes", "age", "expression", "landmarks", "parsing")}  # fmt: skip
    assert shapes == {
        "attributes": (40, 8), "age": (101, 8), "expression": (7, 8), "landmarks": (68, 8), "parsing": (19, 8)
    }  # fmt: skip
    head = (tmp_path / "runs/real/metrics.csv").read_text().splitlines()[0]
    assert all(f"train/loss/{name}" in head for name in (*shapes, "identity"))
