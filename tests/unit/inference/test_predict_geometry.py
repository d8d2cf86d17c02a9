"""Points that a network answers are told in the pixels of the picture, however it was fitted."""

import pytest
import torch

from transface.backbones.face_vit import FaceViT
from transface.backbones.headed import HeadedNetwork
from transface.backbones.timm_encoder import TimmEncoder
from transface.images.fit import Fit, fit_matrix
from transface.inference.face_model import FaceModel
from transface.inference.predict import predict_pictures


def middle_of_the_image() -> FaceModel:
    """A network that answers the same point, (24, 24) of its 48x48 pixels, to every image."""
    network = HeadedNetwork(TimmEncoder("test_vit", image_size=48), {"nose": {"kind": "points", "names": ["nose"]}})
    torch.nn.init.zeros_(network.heads["nose"].weight)  # type: ignore[arg-type]
    return FaceModel(network)


@pytest.mark.parametrize(
    ("size", "fit"), [((96, 96), "resize"), ((96, 60), "letterbox"), ((60, 96), "center_crop"), ((72, 96), "stretch")]
)
def test_a_point_goes_back_to_where_fitting_took_it_from(size: tuple[int, int], fit: Fit) -> None:
    picture = torch.zeros(3, *size, dtype=torch.uint8)
    (found,) = predict_pictures(middle_of_the_image(), [("a", picture)], fit=fit)
    assert found.error == ""
    ((x, y),) = found.faces[0].outputs["nose"]
    move = fit_matrix(size, (48, 48), fit=fit)
    assert (move @ torch.tensor([x, y, 1.0], dtype=torch.float64)).tolist() == pytest.approx([24.0, 24.0])


def test_twice_the_size_has_its_pixel_centres_half_a_pixel_further() -> None:
    (found,) = predict_pictures(middle_of_the_image(), [("a", torch.zeros(3, 96, 96, dtype=torch.uint8))], fit="resize")
    assert found.faces[0].outputs["nose"] == [pytest.approx([48.5, 48.5])]


@pytest.mark.parametrize(
    ("kind", "size", "fit", "warned"),
    [
        ("embedding", (48, 56), "letterbox", True),
        ("embedding", (96, 96), "resize", True),
        ("embedding", (48, 56), "center_crop", False),
        ("embedding", (48, 48), "letterbox", False),
        ("points", (48, 56), "letterbox", False),
    ],
)
def test_an_embedding_of_a_picture_that_is_no_aligned_face_is_warned_of(
    kind: str, size: tuple[int, int], fit: Fit, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    recogniser = FaceViT(48, 16, embed_dim=8, depth=1, num_heads=2, embedding_size=4)
    model = FaceModel(recogniser) if kind == "embedding" else middle_of_the_image()
    predict_pictures(model, [("a", torch.zeros(3, *size, dtype=torch.uint8))], fit=fit)
    assert ("1 of 1 pictures are not 48x48" in caplog.text) is warned
