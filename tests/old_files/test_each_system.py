"""A checkpoint of each system opens and answers as it did, and is resumed: attributes, occlusion and generalist kept
from 2026-11-29, recognition from 2026-11-30.

Each is of a tiny run of three steps on made-up people, with SGD. `python -m tests.old_files.test_each_system FOLDER`
wrote them with their answers; it is not run again: what is kept here is what was written then.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contracts.test_generalist import SMALL as GENERALIST
from tests.smoke.test_attributes import SETTINGS as ATTRIBUTES

import transface
from transface.__main__ import main
from transface.synthetic.datasets import write_identity_pack
from transface.synthetic.labelled_sets import write_age_folder, write_attribute_folder
from transface.synthetic.world.sets import WorldSettings, write_world

HERE = Path(__file__).parent
COMMON = ["optimizer=sgd", "optimizer.momentum=0", "logger=csv", "report=false", "seed=0", "name=old"]
COMMON += ["trainer.max_epochs=-1", "checkpoint.every_n_steps=3", "validation.every_n_epochs=null"]
TINY_VIT = "backbone.model_settings={embed_dim: 8, depth: 2, num_heads: 2, patch_size: 8}"
WORDS = {
    "attributes": [*(word for word in ATTRIBUTES if "model_settings" not in word), TINY_VIT, "backbone.zones=2"],
    "occlusion": [
        "experiment=occlusion/utkface",
        "stage=teacher",
        "trainer=cpu",
        "backbone.pretrained=false",
        "data.root=faces",
        "data.num_workers=0",
        "data.total_batch_size=12",
        "backbone.name=vit_tiny_patch16_224",
        "backbone.input_size=32",
        f"+{TINY_VIT}",
    ],
    "generalist": list(GENERALIST),
    "recognition": [
        "experiment=demo",
        "data.root=data",
        "data.num_workers=0",
        "data.total_batch_size=8",
        "backbone.patch_size=16",
        "backbone.embed_dim=8",
        "backbone.depth=1",
        "backbone.num_heads=2",
        "embedding_size=8",
        "perturbation.num_patches=4",
        "schedule.warmup_epochs=0",
        "protocol.files=[]",
    ],
}


def write_data(system: str, room: Path) -> None:
    if system == "attributes":
        write_attribute_folder(room / "faces", num_identities=10, images_per_identity=4, seed=1)
    elif system == "recognition":
        write_identity_pack(room / "data", num_identities=6, images_per_identity=4)
    elif system == "occlusion":
        write_age_folder(room / "faces", num_identities=40, images_per_identity=2)
    else:
        settings = WorldSettings(num_identities=4, images_per_identity=3, num_pairs=20, num_images=20, image_size=64)
        write_world(room / "world", settings)


def train(system: str, steps: int, *words: str) -> int:
    return main(["train", *WORDS[system], *COMMON, f"trainer.max_steps={steps}", *words])


def answers_of(run: Path) -> dict[str, Any]:
    model = transface.load(run, device="cpu")
    height, width = model.image_size
    generator = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=generator).numpy()
    return {name: value.flatten()[:40].tolist() for name, value in model.predict(faces).items()}


@pytest.mark.parametrize("system", list(WORDS))
def test_a_kept_checkpoint_answers_as_it_did(system: str) -> None:
    wanted = json.loads((HERE / system / "answers.json").read_text())
    found = answers_of(HERE / system / "step-000000003")
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(values), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("system", list(WORDS))
def test_a_kept_checkpoint_is_resumed(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_data(system, tmp_path)
    shutil.copytree(HERE / system / "step-000000003", "runs/old/checkpoints/step-000000003")
    assert train(system, 6, "resume=auto") == 0
    assert "step-000000003" in capfd.readouterr().out
    old, new = (
        torch.load(Path("runs/old/checkpoints", f"step-{step:09d}", "trainer.ckpt"), weights_only=True)
        for step in (3, 6)
    )
    assert new["global_step"] == 6
    assert new["state_dict"].keys() == old["state_dict"].keys()
    moved = [name for name, value in old["state_dict"].items() if not torch.equal(value, new["state_dict"][name])]
    assert moved


if __name__ == "__main__":
    import os

    room = Path(sys.argv[1]).resolve()
    for name in (system for system in WORDS if not (HERE / system).exists()):
        (room / name).mkdir(parents=True)
        os.chdir(room / name)
        write_data(name, room / name)
        assert train(name, 3) == 0
        kept = HERE / name
        shutil.copytree("runs/old/checkpoints/step-000000003", kept / "step-000000003")
        (kept / "answers.json").write_text(json.dumps(answers_of(kept / "step-000000003"), indent=1) + "\n")
