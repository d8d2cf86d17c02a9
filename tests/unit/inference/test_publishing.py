"""A published folder says what it is, is whole or not there, and goes through the Hub's own calls without a network."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, PyTorchModelHubMixin
from safetensors.torch import load_file

import transface
from transface.evaluation.results import Measure, Result
from transface.inference.face_model import FaceModel
from transface.inference.publishing import publish

RESULT = Result(
    "pair_sets",
    "lfw",
    "F1",
    (
        Measure("accuracy", 0.9978, 0.996, 0.999, std=0.002),
        Measure("tar@far=1e-04/strict", 0.9, warning="few impostors"),
    ),
)


def test_a_folder_holds_weights_config_and_card(small_model: FaceModel, tmp_path: Path) -> None:
    folder = publish(
        small_model,
        tmp_path / "face-s",
        training_data="ms1mv2",
        data_licence="research only",
        licence="apache-2.0",
        results=[RESULT],
    )
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (folder / "README.md").read_text()
    for word in (
        "# face-s",
        "ms1mv2",
        "research only",
        "99.78 ± 0.20 %",
        "99.60 to 99.90",
        "few impostors",
        "unit vectors",
    ):
        assert word in card
    assert ModelCard(card).data.license == "apache-2.0"
    assert json.loads((folder / "config.json").read_text())["backbone"]["embed_dim"] == 16
    assert set(load_file(folder / "model.safetensors")) == {
        f"backbone.{name}" for name in small_model.backbone.state_dict()
    }
    assert transface.load(folder).fingerprint() == small_model.fingerprint()


def test_what_is_not_known_is_said_so(small_model: FaceModel, tmp_path: Path) -> None:
    card = (publish(small_model, tmp_path / "a") / "README.md").read_text()
    assert "not stated" in card
    assert "without a recipe" in card


def test_a_folder_is_not_overwritten_unasked(small_model: FaceModel, tmp_path: Path) -> None:
    publish(small_model, tmp_path / "a")
    with pytest.raises(FileExistsError, match="overwrite=true"):
        publish(small_model, tmp_path / "a")
    publish(small_model, tmp_path / "a", licence="mit", overwrite=True)
    assert ModelCard((tmp_path / "a" / "README.md").read_text()).data.license == "mit"


def test_a_failed_write_leaves_nothing(small_model: FaceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("transface.inference.face_model.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        publish(small_model, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_push_sends_the_same_files_and_pull_opens_them(
    small_model: FaceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert issubclass(FaceModel, PyTorchModelHubMixin)
    sent = tmp_path / "hub"

    class Repository:
        repo_id = "someone/face-s"

    def upload(self: HfApi, *, folder_path: Path, **_: Any) -> str:
        Path(folder_path).rename(sent)
        return "a commit"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, **_: Repository)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert small_model.push_to_hub("someone/face-s") == "a commit"
    assert sorted(path.name for path in sent.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for file in ("huggingface_hub.hub_mixin.hf_hub_download", "transface.inference.face_model.hf_hub_download"):
        monkeypatch.setattr(file, lambda repo_id=None, filename=None, **_: str(sent / filename))
    monkeypatch.setattr(
        "transface.inference.face_model.hf_hub_download", lambda repo_id, filename, **_: str(sent / filename)
    )
    pulled = FaceModel.from_pretrained("someone/face-s")
    assert pulled.fingerprint() == small_model.fingerprint()


def test_weights_that_do_not_fit_the_config_are_refused(small_model: FaceModel, tmp_path: Path) -> None:
    folder = publish(small_model, tmp_path / "a")
    config = json.loads((folder / "config.json").read_text())
    config["backbone"]["embedding_size"] = 4
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="do not fit"):
        transface.load(folder)


def test_a_config_that_names_other_code_is_refused(small_model: FaceModel, tmp_path: Path) -> None:
    folder = publish(small_model, tmp_path / "a")
    (folder / "config.json").write_text(
        json.dumps({"backbone": {"_target_": "os.system", "command": f"touch {tmp_path / 'made'}"}})
    )
    with pytest.raises(ValueError, match=r"os\.system"):
        transface.load(folder)
    assert not (tmp_path / "made").exists()


def test_a_model_keeps_its_weights_through_a_move(small_model: FaceModel, tmp_path: Path) -> None:
    faces = torch.rand(2, 3, 112, 112)
    assert torch.equal(
        transface.load(publish(small_model, tmp_path / "a"), device="cpu").embed(faces), small_model.embed(faces)
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"{", "no JSON"),
        ("config.json", b"[1]", "names no backbone"),
        ("config.json", b'{"model_type": "bert"}', "names no backbone"),
        ("model.safetensors", b"broken", "is broken"),
        ("model.safetensors", b"", "is broken"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    small_model: FaceModel, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    folder = publish(small_model, tmp_path / "a")
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        transface.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises((FileNotFoundError, ValueError)):
        transface.load(folder)


def test_overwriting_replaces_a_published_model_and_nothing_else(small_model: FaceModel, tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    (photographs / "anna").mkdir(parents=True)
    (tmp_path / "file").write_text("mine")
    for path in (photographs, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="is no published model"):
            publish(small_model, path, overwrite=True)
    assert (photographs / "anna").is_dir()
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert (publish(small_model, tmp_path / "empty", overwrite=True) / "model.safetensors").is_file()
