"""Galleries by quality: low ones refused, people pooled with weights; embeddings of two models refused in each verb."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transface.__main__ import main
from transface.backbones.face_vit import FaceViT
from transface.inference.face_model import FaceModel
from transface.inference.folders.embeddings_file import (
    NamedEmbeddings,
    join_embeddings,
    read_embeddings,
    write_embeddings,
)
from transface.inference.publishing import publish
from transface.inference.quality import rate_faces
from transface.inference.search.rated_gallery import pool_people, refuse_low_quality


def rated(quality: list[float] | None, *, model: str = "m", first: int = 0) -> NamedEmbeddings:
    vectors = np.random.default_rng(first).normal(size=(4, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = np.array([f"{person}/{first + place}.jpg" for place, person in enumerate("aabb")])
    own = None if quality is None else np.array(quality, np.float32)
    return NamedEmbeddings(names, vectors, np.ones(4, np.float32), np.array([], np.str_), {"model": model}, own)


def test_a_template_is_the_mean_weighted_by_quality() -> None:
    faces = rated([0.1, 0.3, 0.2, 0.2])
    pooled = pool_people(faces)
    for row, own in ((0, [0, 1]), (1, [2, 3])):
        mean = (faces.vectors[own] * faces.quality[own, None]).sum(0) / faces.quality[own].sum()
        np.testing.assert_allclose(pooled.vectors[row], mean / np.linalg.norm(mean), atol=1e-6)
        assert pooled.norms[row] == pytest.approx(float(np.linalg.norm(mean)), abs=1e-6)
    assert pooled.names.tolist() == ["a/1.jpg", "b/2.jpg"]
    even = pool_people(rated(None))
    mean = rated(None).vectors[:2].mean(0)
    np.testing.assert_allclose(even.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_low_quality_is_refused_by_name() -> None:
    kept, names = refuse_low_quality(rated([0.1, 0.3, 0.2, 0.2]), 0.2)
    assert (kept.names.tolist(), names) == (["a/1.jpg", "b/2.jpg", "b/3.jpg"], ["a/0.jpg"])
    with pytest.raises(ValueError, match=r"the best has 0\.3"):
        refuse_low_quality(rated([0.1, 0.3, 0.2, 0.2]), 0.5)
    with pytest.raises(ValueError, match="needs rated faces"):
        refuse_low_quality(rated(None), 0.5)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_quality_is_kept_in_files(tmp_path: Path, ending: str) -> None:
    for quality in (None, [0.1, 0.3, 0.2, 0.2]):
        write_embeddings(tmp_path / f"faces{ending}", rated(quality))
        found = read_embeddings(tmp_path / f"faces{ending}")
        assert (found.quality is None) == (quality is None)
        assert quality is None or found.quality.tolist() == pytest.approx(quality)


def test_files_of_one_model_are_joined_and_those_of_two_refused() -> None:
    joined = join_embeddings([rated([1, 2, 3, 4]), rated([5, 6, 7, 8], first=4)], ["x", "y"])
    assert (len(joined.names), joined.quality.tolist()) == (8, [1, 2, 3, 4, 5, 6, 7, 8])
    assert join_embeddings([rated([1, 2, 3, 4]), rated(None, first=4)], ["x", "y"]).quality is None
    with pytest.raises(ValueError, match="is in several of the files"):
        join_embeddings([rated(None), rated(None)], ["x", "y"])
    with pytest.raises(ValueError, match="x and y hold embeddings of two models"):
        join_embeddings([rated(None), rated(None, model="n", first=4)], ["x", "y"])


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        publish(FaceModel(FaceViT(embed_dim=16, depth=3, num_heads=2, embedding_size=8)), tmp_path / name)
    rng = np.random.default_rng(0)
    for place in range(6):
        path = tmp_path / "faces" / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(path)
    return tmp_path


def test_verbs_write_quality_use_it_and_refuse_to_mix_models(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("one", "two"):
        for kind in ("tokens", "norm"):
            words = [f"checkpoint={model}", "images=faces", f"output={model}-{kind}.npz", f"quality={kind}"]
            assert main(["embed", *words, "batch_size=2"]) == 0
    found = read_embeddings("one-tokens.npz")
    model = FaceModel.from_pretrained("one")
    wanted = rate_faces(model, [room / "faces" / name for name in found.names])
    np.testing.assert_allclose(found.quality, wanted.quality.numpy(), atol=1e-6)
    mirrored = rate_faces(model, [room / "faces" / name for name in found.names], flip="sum", batch_size=4)
    np.testing.assert_allclose(mirrored.quality.numpy(), wanted.quality.numpy(), atol=1e-6)
    np.testing.assert_allclose(read_embeddings("one-norm.npz").quality, found.norms, rtol=1e-5)
    capsys.readouterr()
    lowest = float(np.sort(found.quality)[2])
    query = str(room / "faces" / found.names[np.argmax(found.quality)])
    words = ["checkpoint=one", f"query={query}", "quality=tokens", f"min_quality={lowest}", "flip=none"]
    assert main(["search", "gallery=one-tokens.npz", "pictures=faces", *words]) == 0
    assert f"2 gallery faces of a quality below {lowest:g}" in capsys.readouterr().out
    assert main(["search", "gallery=faces", *words, "templates=true"]) == 0
    assert "  a" in capsys.readouterr().out
    for verb in (
        ["search", "gallery=two-tokens.npz", *words],
        ["compare", "one-tokens.npz", "two-tokens.npz"],
        ["cluster", "one-tokens.npz", "two-tokens.npz"],
    ):
        assert main(verb) == 2
        assert "of two models" in capsys.readouterr().err
    assert main(["compare", "one-tokens.npz", "one-norm.npz"]) == 0
    assert capsys.readouterr().out.count("1.0000") == 6
    assert main(["compare", "one-tokens.npz", query]) == 2
    assert main(["search", "gallery=faces", "query=faces"]) == 2
    assert "no value for checkpoint" in capsys.readouterr().err
