"""Models of the Hub by name: a pinned revision from the cache, offline; what is not clear is refused in a line."""

from pathlib import Path

import pytest
from huggingface_hub import constants

import transface
from transface.backbones.face_vit import FaceViT
from transface.backbones.weights import hub
from transface.backbones.weights.hub import is_hub_name, local_path
from transface.inference.face_model import FaceModel
from transface.inference.publishing import publish

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub's cache as huggingface_hub lays it out, with a published model, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repo = tmp_path / "models--org--name"
    folder = repo / "snapshots" / REVISION
    folder.parent.mkdir(parents=True)
    publish(FaceModel(FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)), folder)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(REVISION)
    return folder


def test_a_pinned_model_opens_from_the_cache_offline(cache: Path) -> None:
    assert local_path(f"hf:org/name@{REVISION}") == cache
    model = transface.load(f"hf:org/name@{REVISION}")
    assert model.fingerprint() == transface.load(cache).fingerprint()
    assert model.provenance["source"] == f"hf:org/name@{REVISION}"


def test_without_a_revision_the_one_of_now_is_told(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert local_path("hf:org/name") == cache
    assert f"hf:org/name@{REVISION} stays as it is" in caplog.text


def test_one_file_of_a_repository_is_named_or_the_only_one(cache: Path) -> None:
    (cache / "config.json").unlink()
    assert local_path(f"hf:org/name@{REVISION}") == cache / "model.safetensors"
    assert local_path(f"hf:org/name@{REVISION}:model.safetensors") == cache / "model.safetensors"
    (cache / "other.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"it holds model\.safetensors, other\.safetensors: .*:FILE names one"):
        local_path(f"hf:org/name@{REVISION}")
    with pytest.raises(ValueError, match=r"has no file none\.pt"):
        local_path(f"hf:org/name@{REVISION}:none.pt")


def test_what_is_not_in_the_cache_is_one_line_offline(cache: Path) -> None:
    with pytest.raises(ValueError, match="hf:org/absent cannot be had from the Hugging Face Hub"):
        local_path("hf:org/absent")


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:a/b/c", "hf:org/name@", "hf:../x", "hf:org/name:"])
def test_names_that_are_none_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: pytest.fail("nothing is asked"))
    with pytest.raises(ValueError, match="is no name of a model"):
        local_path(name)


def test_other_paths_stay_as_they_are() -> None:
    assert not is_hub_name("runs/demo")
    assert local_path("runs/demo") == Path("runs/demo")
