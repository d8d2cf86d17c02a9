"""A threshold carries the mode it was measured in, and is refused in another one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import transface
from transface.backbones.face_vit import FaceViT
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.protocol import run_protocol
from transface.evaluation.recognition.pair_sets import PairSets
from transface.evaluation.results import Result, write_result
from transface.inference.face_model import FaceModel
from transface.inference.thresholds import MeasuredMode, Threshold


def small_model(seed: int) -> FaceModel:
    torch.manual_seed(seed)
    backbone = FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    with torch.no_grad():  # so that its batch norms know what faces are like
        for _ in range(10):
            backbone(torch.rand(16, 3, 112, 112) * 2 - 1)
    return FaceModel(backbone)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaceModel, dict[bool, Result], np.ndarray]:
    """A model, its results with and without flip, and the faces of the pairs."""
    folder = tmp_path_factory.mktemp("pairs")
    model = small_model(0)
    file = write_pair_set_of_noise(folder / "made_up.bin")
    results = {}
    for flip in (False, True):
        runner = Embedder(model.backbone, progress=False, checkpoint_hash="ab")
        results[flip] = run_protocol(PairSets([file], flip=flip, num_bootstraps=0), runner)[0]
    return model, results, np.stack(pictures())


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (112, 112, 3), dtype=np.uint8) for _ in range(80)]


def write_pair_set_of_noise(path: Path) -> Path:
    import io

    from PIL import Image

    from transface.data.benchmarks.pairs import write_pair_set

    encoded = []
    for picture in pictures():
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG")
        encoded.append(out.getvalue())
    for pair in range(0, 40, 2):  # genuine pairs are one picture twice
        encoded[2 * pair + 1] = encoded[2 * pair]
    write_pair_set(path, encoded, [pair % 2 == 0 for pair in range(40)])
    return path


def impostor_rate(vectors: torch.Tensor, cosine: float) -> float:
    cosines = [float(vectors[2 * pair] @ vectors[2 * pair + 1]) for pair in range(1, 40, 2)]
    return float(np.mean([value >= cosine for value in cosines]))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("far", [0.1, 0.3])
def test_a_threshold_keeps_its_rate_on_embeddings_made_in_its_mode(measured, flip: bool, far: float) -> None:
    model, results, faces = measured
    limit = transface.threshold(results[flip], far)
    assert limit.mode.flip == ("sum" if flip else "none")
    assert limit.mode.model == model.fingerprint()
    vectors = model.embed(faces, threshold=limit)
    assert impostor_rate(vectors, limit.cosine + 1e-5) <= limit.far <= impostor_rate(vectors, limit.cosine - 1e-5)
    torch.testing.assert_close(vectors, model.embed(faces, flip="sum" if flip else "none"))


@pytest.mark.parametrize("flip", [False, True])
def test_another_flip_than_the_measured_one_is_refused(measured, flip: bool) -> None:
    model, results, faces = measured
    limit = transface.threshold(results[flip], 0.1)
    with pytest.raises(ValueError, match=r"was measured with flip=(sum|none), the embeddings are of flip="):
        model.embed(faces[:2], threshold=limit, flip="none" if flip else "sum")
    with pytest.raises(ValueError, match="was measured with flip"):
        limit.check(flip="none" if flip else "sum")


def test_another_model_than_the_measured_one_is_refused(measured, tmp_path: Path) -> None:
    model, results, faces = measured
    limit = transface.threshold(write_result(results[True], tmp_path), 0.1)
    with pytest.raises(ValueError, match="measured with another model"):
        small_model(1).embed(faces[:2], threshold=limit)
    with pytest.raises(ValueError, match="measured with another model"):
        small_model(1).compare(faces[0], faces[1], threshold=limit)
    other_heads = small_model(0)
    other_heads.backbone.load_state_dict(model.backbone.state_dict())
    for part in other_heads.modules():
        if hasattr(part, "num_heads"):
            part.num_heads = 4
    with pytest.raises(ValueError, match="measured with another model"):
        limit.check(other_heads)


def test_the_same_weights_of_another_file_are_the_same_model(measured, tmp_path: Path) -> None:
    model, results, faces = measured
    model.save_pretrained(tmp_path / "exported")
    again = transface.load(tmp_path / "exported")
    limit = transface.threshold(results[True], 0.1)
    found = again.compare(faces[0], faces[0], threshold=limit)
    assert found.same
    assert found.cosine == pytest.approx(1, abs=1e-5)
    assert again.compare(faces[0], faces[2]).same is None


def test_another_preparation_of_the_pictures_is_warned_of(measured) -> None:
    model, results, _ = measured
    made = dataclasses.replace(
        results[True].provenance, config={"protocol": {"fit": "refuse", "detector": "mtcnn", "points": None}}
    )
    limit = transface.threshold(dataclasses.replace(results[True], provenance=made), 0.1)
    same = {"fit": "refuse", "detector": "mtcnn", "points": None}
    assert limit.check(model, flip="sum", preparation=same) == ""
    assert "detector=mtcnn, this uses no detector" in limit.check(model, preparation=same | {"detector": None})


def test_a_result_that_says_nothing_of_its_mode_is_taken_as_it_is(measured) -> None:
    model, _, faces = measured
    limit = Threshold(0.5, float("nan"), float("nan"), 0)
    assert limit.check(model, flip="none") == limit.check(model, flip="sum") == ""
    torch.testing.assert_close(model.embed(faces[:2], threshold=limit), model.embed(faces[:2], flip="none"))


def test_a_detector_is_the_same_by_its_word_and_by_its_name() -> None:
    def said(stated: str | None, used: str | None, **words: str) -> str:
        limit = Threshold(0.3, 0.01, 0.9, 1000, mode=MeasuredMode(preparation={"detector": stated, "fit": "refuse"}))
        return limit.check(preparation={"detector": used, **words})

    mtcnn = "mtcnn (facenet-pytorch 2.6, faces from 20 px)"
    assert said("mtcnn", mtcnn, fit="letterbox") == ""  # fit= is not read where faces are cut out
    assert said("yunet:models/a.onnx", "yunet (a.onnx 0123, OpenCV 4, scores from 0.6)") == ""
    assert said("yunet:a.onnx", "yunet (b.onnx 0123, OpenCV 4, scores from 0.6)")
    assert said("scrfd:a.onnx", mtcnn)
    assert said(None, None, fit="letterbox").endswith("measured with fit=refuse, this uses fit=letterbox")


def test_embedding_warns_of_faces_made_otherwise(measured, caplog: pytest.LogCaptureFixture) -> None:
    model, results, images = measured
    limit = transface.threshold(results[True], far=0.1)
    limit = limit._replace(mode=limit.mode._replace(preparation={"detector": "mtcnn", "fit": "refuse"}))
    model.embed(images[:2], threshold=limit)
    assert "was measured with detector=mtcnn, this uses no detector" in caplog.text
