"""The functions behind the page of `transface demo`: they answer, and a mistake is a sentence."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from transface.__main__ import main
from transface.images.alignment import align_image, template_points
from transface.images.detection import Faces, no_faces, sorted_faces
from transface.inference.demo.handlers import Handlers
from transface.inference.face_model import FaceModel
from transface.inference.folders.embeddings_file import NamedEmbeddings
from transface.inference.similarity import similarity


class OneFace:
    """Finds a face at one place of every picture that is not black."""

    name = "one face"

    def detect(self, images: Sequence[np.ndarray]) -> list[Faces]:
        points = template_points().numpy() + 20.0
        return [sorted_faces([[20, 20, 131, 131]], [points], [0.9]) if image.any() else no_faces() for image in images]


def photograph(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (160, 170, 3), dtype=np.uint8)


def gallery_of(model: FaceModel, *, fingerprint: str | None = None) -> NamedEmbeddings:
    faces = torch.stack([face_of(photograph(seed)) for seed in range(3)])
    return NamedEmbeddings(
        np.array([f"{seed}.png" for seed in range(3)]),
        model.embed(faces).numpy(),
        np.ones(3, np.float32),
        np.array([], np.str_),
        {"model": fingerprint or model.fingerprint(), "flip": "none"},
    )


def face_of(picture: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(picture).permute(2, 0, 1)
    return align_image(pixels, template_points()[None].double() + 20, size=112)[0]


def test_two_photographs_are_compared_with_a_verdict_and_their_patches(small_model: FaceModel) -> None:
    handlers = Handlers(small_model, detector=OneFace(), threshold=0.99)
    said, first, second = handlers.compare(photograph(0), photograph(0))
    assert said == "similarity 1.0000: same person (the threshold is 0.9900)"
    assert first.shape == second.shape == (224, 224, 3)
    assert not np.array_equal(first[::2, ::2], face_of(photograph(0)).permute(1, 2, 0).numpy())


def test_faces_are_embedded_as_the_threshold_was_measured_and_fitted_as_asked(small_model: FaceModel) -> None:
    faces = torch.stack([face_of(photograph(number)) for number in (0, 1)])
    for flip in ("none", "sum"):
        vectors = small_model.embed(faces, flip=flip)
        expected = float(similarity(vectors[0], vectors[1]))
        handlers = Handlers(small_model, detector=OneFace(), flip=flip)
        assert handlers.compare(photograph(0), photograph(1)).said == f"similarity {expected:.4f}"
    wide = np.zeros((112, 150, 3), np.uint8)
    assert "112" in Handlers(small_model, fit="refuse").compare(wide, wide).said
    assert Handlers(small_model).compare(wide, wide).said == "similarity 1.0000"


def test_a_mistake_is_a_sentence(small_model: FaceModel) -> None:
    handlers = Handlers(small_model, detector=OneFace())
    assert handlers.compare(None, photograph(0)).said == "choose a photograph first"
    assert handlers.compare(photograph(0), np.zeros((99, 99, 3), np.uint8)).said == "no face was found"
    assert handlers.search(photograph(0)) == ("no gallery: start the page with gallery=FOLDER", [])
    assert handlers.predict(None) == {"failed": "choose a photograph first"}


def test_a_photograph_is_predicted_without_its_embedding(small_model: FaceModel) -> None:
    answer = Handlers(small_model, detector=OneFace()).predict(photograph(1))
    (outputs,) = [face["outputs"] for face in answer["faces"]]
    assert outputs == {"embedding": "the one answer of this model: compare or search with it"}
    assert answer["faces"][0]["score"] == pytest.approx(0.9)


def test_the_most_similar_of_a_gallery_are_found_and_that_of_another_model_is_refused(small_model: FaceModel) -> None:
    handlers = Handlers(
        small_model, detector=OneFace(), threshold=0.999, gallery=gallery_of(small_model), pictures=Path("pictures")
    )
    said, hits = handlers.search(photograph(2))
    assert said == "the 3 most similar of 3 faces"
    assert hits[0] == (Path("pictures/2.png"), "1.0000 2.png, same")
    with pytest.raises(ValueError, match="hold embeddings of two models"):
        Handlers(small_model, gallery=gallery_of(small_model, fingerprint="f" * 64))


def test_without_gradio_or_with_a_wrong_port_the_verb_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["demo", f"checkpoint={tmp_path}", "port=70000"]) == 2
    assert "port must be in" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "host", "warned"), [([], "127.0.0.1", False), (["host=0.0.0.0"], "0.0.0.0", True)])
def test_the_page_is_for_this_machine_alone_unless_another_host_is_asked_for(
    words: list[str],
    host: str,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    launched: dict[str, Any] = {}

    class Page:
        def launch(self, **settings: Any) -> tuple[None, str, None]:
            launched.update(settings)
            return None, "http://there", None

        def block_thread(self) -> None:
            pass

    handlers = SimpleNamespace(model=SimpleNamespace(provenance={}), pictures=None)
    monkeypatch.setattr("transface.cli.demo.handlers_of", lambda cfg: handlers)
    monkeypatch.setattr("transface.inference.demo.page.build_page", lambda handlers, title: Page())
    assert main(["demo", f"checkpoint={tmp_path}", *words]) == 0
    assert launched["server_name"] == host
    assert launched["share"] is False
    assert ("lets other machines in" in capsys.readouterr().out) is warned
