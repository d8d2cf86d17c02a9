"""Files written by commit 115ab01 (before networks had named outputs) still open: a checkpoint, an exported folder, a
result.

All three are of one tiny run: six made-up people, three steps, SGD. The numbers below were printed by that commit.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import transface
from transface.__main__ import main
from transface.evaluation.results import read_result, write_result
from transface.inference.similarity import threshold
from transface.synthetic.datasets import write_identity_pack, write_pair_sets

HERE = Path(__file__).parent
RUN, EXPORTED = HERE / "run", HERE / "exported"
CHECKPOINT, RESULT = RUN / "checkpoints" / "step-000000003", RUN / "results" / "pair_sets_easy_F1.json"
FINGERPRINT = "87a98220aaaa99be1fe85374a54df3e3b7d7a23623915a2e387898480ed44b26"
EMBEDDINGS = [
    [-0.1835, -0.3259, -0.0271, -0.2267, -0.0023, 0.7832, -0.2312, -0.3758],
    [-0.3552, -0.1000, -0.0735, -0.0055, -0.3432, -0.2427, 0.2300, 0.7930],
]
SETTINGS = """experiment=demo data.root=data data.total_batch_size=8 data.num_workers=0 backbone.patch_size=16
backbone.embed_dim=8 backbone.depth=1 backbone.num_heads=2 embedding_size=8 perturbation.num_patches=4
trainer.max_epochs=2 protocol.files=[data/easy.bin] validation.every_n_epochs=1 logger=csv optimizer=sgd
optimizer.momentum=0 schedule.warmup_epochs=0 report=false name=old"""


def hash_of_weights(model: Any) -> str:
    """Return what 115ab01 called a model's fingerprint: the SHA-256 of all weights with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.backbone.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@pytest.mark.parametrize(
    "path", [CHECKPOINT, CHECKPOINT / "trainer.ckpt", EXPORTED], ids=["checkpoint", "file", "exported"]
)
def test_an_old_model_opens_and_gives_the_same_embeddings(path: Path) -> None:
    model = transface.load(path)
    assert hash_of_weights(model) == FINGERPRINT
    faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    torch.testing.assert_close(model.embed(faces), torch.tensor(EMBEDDINGS), atol=2e-4, rtol=0)
    assert model.describe() == {"embedding": {"kind": "embedding"}}
    torch.testing.assert_close(model.predict(faces)["embedding"], model.embed(faces))


def test_an_old_result_is_read_and_its_measures_know_their_unit_and_direction(tmp_path: Path) -> None:
    result = read_result(RESULT)
    assert (result.kind, result.counts["impostor"]) == ("pairs", 10)
    accuracy = result.measure("accuracy")
    assert (accuracy.unit, accuracy.better) == ("rate", "higher")
    assert 0 <= accuracy.value <= 1
    assert threshold(result, far=0.2).num_impostors == 10
    shutil.copy(RESULT, tmp_path)
    write_result(read_result(tmp_path / RESULT.name), tmp_path / "new")
    assert read_result(tmp_path / "new" / RESULT.name).measures == result.measures


def test_an_old_run_is_resumed_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_identity_pack("data", num_identities=6, images_per_identity=4)
    write_pair_sets("data", num_pairs=20, num_identities=6)
    shutil.copytree(RUN, "runs/old")
    assert main(["train", *SETTINGS.split(), "resume=auto"]) == 0
    assert "step-000000003" in capfd.readouterr().out
    content = torch.load("runs/old/checkpoints/last/trainer.ckpt", weights_only=True)
    assert content["global_step"] == 6
    assert {name.split(".")[0] for name in content["state_dict"]} == {"network", "classifier"}


def test_an_old_run_of_another_size_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_identity_pack("data", num_identities=6, images_per_identity=4)
    write_pair_sets("data", num_pairs=20, num_identities=6)
    shutil.copytree(RUN, "runs/old")
    assert main(["train", *SETTINGS.split(), "backbone.embed_dim=16", "resume=auto"]) == 2
    said = capfd.readouterr().err.strip()
    assert "another architecture" in said
    assert len(said.splitlines()) == 1
