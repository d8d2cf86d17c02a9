"""Predictions straight from photographs: every face found, with box, points and score; a picture without any is
listed.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from transface.images.alignment import align_image, template_points
from transface.images.detection import Faces, no_faces, sorted_faces
from transface.inference.face_model import FaceModel
from transface.inference.predict import predict_pictures
from transface.inference.predictions_file import as_json

PLACES = ((10.0, 20.0, 1.2), (170.0, 40.0, 0.9))  # left, top, scale of the two faces of a photograph


class TwoFaces:
    """Finds two faces in every picture that is not black."""

    name = "two faces"

    def detect(self, images: Sequence[np.ndarray]) -> list[Faces]:
        points = [template_points().numpy() * scale + (left, top) for left, top, scale in PLACES]
        boxes = [[left, top, left + 111 * scale, top + 111 * scale] for left, top, scale in PLACES]
        return [sorted_faces(boxes, points, [0.9, 0.8]) if image.any() else no_faces() for image in images]


def test_all_faces_of_photographs_are_answered(small_model: FaceModel) -> None:
    photograph = torch.randint(1, 256, (3, 220, 300), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = predict_pictures(
        small_model, [("a.png", photograph), ("dark.png", torch.zeros_like(photograph))], detector=TwoFaces()
    )
    assert [len(one.faces) for one in found] == [2, 0]
    assert found[1].error == "no face was found"
    entry = as_json(found)[0]
    for face, (left, top, scale), score in zip(entry["faces"], PLACES, (0.9, 0.8), strict=True):
        assert face["box"] == pytest.approx([left, top, left + 111 * scale, top + 111 * scale], abs=1e-3)
        assert face["score"] == pytest.approx(score)
        points = torch.tensor(face["points"], dtype=torch.float64)
        wanted = small_model.embed(align_image(photograph, points))[0]
        got = torch.tensor(face["outputs"]["embedding"])
        assert float(torch.nn.functional.normalize(got, dim=0) @ wanted) > 0.9999


def test_one_of_several_faces_is_taken_and_points_beside_a_detector_are_refused(small_model: FaceModel) -> None:
    photograph = torch.full((3, 220, 300), 9, dtype=torch.uint8)
    (only,) = predict_pictures(small_model, [("a.png", photograph)], detector=TwoFaces(), faces="only")
    assert "2 faces, and faces=only" in only.error
    (largest,) = predict_pictures(small_model, [("a.png", photograph)], detector=TwoFaces(), faces="largest")
    assert len(largest.faces) == 1
    with pytest.raises(ValueError, match="points or a detector, not both"):
        predict_pictures(small_model, [("a.png", photograph)], detector=TwoFaces(), points={})


def test_of_two_faces_of_about_one_size_a_warning_says_which_was_taken(
    small_model: FaceModel, caplog: pytest.LogCaptureFixture
) -> None:
    photograph = np.full((220, 300, 3), 9, np.uint8)
    small_model.embed([photograph], detector=TwoFaces())
    assert "images[0]: one face of several was taken; ambiguous: another face has more than half" in caplog.text
    caplog.clear()
    predict_pictures(small_model, [("a.png", photograph)], detector=TwoFaces(), faces="largest")
    assert "a.png: 1 faces are answered; ambiguous" in caplog.text
    caplog.clear()
    predict_pictures(small_model, [("a.png", photograph)], detector=TwoFaces(), faces="all")
    assert not caplog.text


def test_a_batch_of_no_pictures_is_refused(small_model: FaceModel) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        predict_pictures(small_model, [("a.png", np.zeros((112, 112, 3), np.uint8))], batch_size=0)
