"""Points and regions of photographs of every kind, in the pixels of the upright photograph: answers, PNGs, drawings.

The network answers where it sees red, green and blue, so the truth follows from the picture.
"""

import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor, nn

from transface.backbones.features import Output
from transface.images.alignment import template_points
from transface.images.detection import Faces, detect_faces, sorted_faces
from transface.inference.face_model import FaceModel
from transface.inference.predict import Prediction, predict_pictures
from transface.inference.predictions_file import refuse_one_name, write_overlay, write_predictions

COLOURS = ("red", "green", "blue")
PLACES = np.array([[0.3, 0.3], [0.7, 0.4], [0.45, 0.75]])  # of the spots, as shares of width and height
GREY = (110, 110, 110)
MARK = (0, 220, 90)  # of a point in an overlay


class Answers(NamedTuple):
    landmarks: Tensor
    parsing: Tensor
    age: Tensor


class Spots(nn.Module):
    """Answers the middle of what is red, green and blue; its age is NaN where the picture is white."""

    image_size = (128, 128)

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.outputs = {
            "landmarks": Output("points", COLOURS),
            "parsing": Output("regions", ("background", *COLOURS)),
            "age": Output("number", unit="years"),
        }

    def forward(self, images: Tensor) -> Answers:
        levels = (images + 1) / 2
        others = torch.stack([torch.maximum(levels[:, (c + 1) % 3], levels[:, (c + 2) % 3]) for c in range(3)], 1)
        weights = (levels - others - 0.25).clamp_min(0)
        places = torch.arange(128.0)
        total = weights.sum((2, 3)).clamp_min(1e-6)
        points = (
            torch.stack([(weights.sum(2) * places).sum(-1), (weights.sum(3) * places).sum(-1)], -1) / total[..., None]
        )
        regions = 50 * torch.cat([torch.full_like(weights[:, :1], 0.05), weights], 1)
        age = images.mean((1, 2, 3))
        return Answers(points, regions, torch.where(age > 0.99, torch.nan, age))


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel(Spots())


def drawn(height: int, width: int, radius: float = 0.08) -> Image.Image:
    image = Image.new("RGB", (width, height), GREY)
    drawing = ImageDraw.Draw(image)
    side = radius * min(height, width)
    for place, (x, y) in enumerate(PLACES * (width, height)):
        colour = tuple(230 if place == channel else 20 for channel in range(3))
        drawing.ellipse([x - side, y - side, x + side, y + side], fill=colour)
    return image


def spots_of(image: Image.Image) -> np.ndarray:
    """Return where an image is red, green and blue (3, 2)."""
    levels = np.asarray(image.convert("RGB")).astype(float) / 255
    found = []
    for channel in range(3):
        weights = np.clip(
            levels[..., channel] - np.maximum(levels[..., (channel + 1) % 3], levels[..., (channel + 2) % 3]) - 0.25,
            0,
            None,
        )
        rows, columns = np.mgrid[: levels.shape[0], : levels.shape[1]]
        found.append([(weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()])
    return np.array(found)


def encoded(image: Image.Image, kind: str = "PNG", turned: int = 1, **settings: Any) -> bytes:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = turned
    image.save(stream, kind, **({"exif": exif} if turned > 1 else {}), **settings)
    return stream.getvalue()


PICTURES = {
    **{f"exif{k}.jpg": encoded(drawn(300, 400), "JPEG", k, quality=95) for k in range(1, 9)},
    **{f"exif6.{kind.lower()}": encoded(drawn(300, 400), kind, 6) for kind in ("PNG", "WEBP", "TIFF")},
    "cmyk.jpg": encoded(drawn(300, 400).convert("CMYK"), "JPEG", quality=95),
    "palette.png": encoded(drawn(300, 400).convert("P")),
    "alpha.png": encoded(drawn(300, 400).convert("RGBA")),
    "wide.png": encoded(drawn(100, 1000, 0.2)),
    "tall.png": encoded(drawn(1000, 100, 0.2)),
    "small.png": encoded(drawn(24, 32, 0.12)),
    "large.jpg": encoded(drawn(1500, 3000), "JPEG"),
}


def upright(name: str) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(PICTURES[name]))).convert("RGB")


@pytest.fixture(scope="module")
def found(model: FaceModel) -> dict[str, Prediction]:
    return {one.image: one for one in predict_pictures(model, list(PICTURES.items()), fit="letterbox")}


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_points_lie_where_the_upright_picture_has_them(name: str, found: dict[str, Prediction]) -> None:
    image = upright(name)
    assert found[name].size == (image.height, image.width)
    points = np.array(found[name].faces[0].outputs["landmarks"])
    assert np.abs(points - spots_of(image)).max() < 0.02 * max(image.size) / 8 + 0.05


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_regions_are_written_in_the_pixels_of_the_picture(
    name: str, found: dict[str, Prediction], tmp_path: Path
) -> None:
    write_predictions([found[name]], tmp_path / "a.json")
    outputs = json.loads((tmp_path / "a.json").read_text())[0]["faces"][0]["outputs"]
    regions = np.asarray(Image.open(tmp_path / outputs["parsing"]))
    image = upright(name)
    assert regions.shape == (image.height, image.width)
    for place, (x, y) in enumerate(spots_of(image), start=1):
        assert regions[round(y), round(x)] == place
    assert (regions == 0).mean() > 0.8


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_points_are_drawn_on_their_spots(
    name: str, found: dict[str, Prediction], model: FaceModel, tmp_path: Path
) -> None:
    page = np.asarray(Image.open(write_overlay(found[name], PICTURES[name], tmp_path, outputs=model.outputs)))
    image = upright(name)
    scale = page.shape[0] / image.height
    assert max(scale * image.width, scale * image.height) < 2100
    rows, columns = np.nonzero((page == MARK).all(-1))
    marks = np.stack([columns, rows], -1)
    for point in (np.array(found[name].faces[0].outputs["landmarks"]) + 0.5) * scale - 0.5:
        near = marks[np.abs(marks - point).max(-1) < 12 * max(scale, page.shape[1] / 640) / 2]
        assert len(near) >= 9
        assert np.abs(near.mean(0) - point).max() < 0.75


def test_marks_of_large_pictures_are_large(found: dict[str, Prediction], model: FaceModel, tmp_path: Path) -> None:
    counts = []
    for name in ("exif1.jpg", "large.jpg"):
        page = np.asarray(Image.open(write_overlay(found[name], PICTURES[name], tmp_path, outputs=model.outputs)))
        counts.append(int((page == MARK).all(-1).sum()))
    assert counts[1] > 5 * counts[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 9000)])
def test_pictures_of_a_line_of_pixels_are_drawn_small(size: tuple[int, int], model: FaceModel, tmp_path: Path) -> None:
    picture = encoded(Image.new("RGB", size[::-1], (200, 0, 0)))
    (one,) = predict_pictures(model, [("a.png", picture)], fit="letterbox")
    page = Image.open(write_overlay(one, picture, tmp_path, outputs=model.outputs))
    assert max(page.size) < 4000


def test_grey_pictures_are_answered_and_drawn(model: FaceModel, tmp_path: Path) -> None:
    for mode in ("L", "LA", "1", "I;16"):
        picture = encoded(drawn(60, 80).convert("L").convert(mode))
        (one,) = predict_pictures(model, [("a.png", picture)], fit="letterbox")
        assert not one.error
        assert Image.open(write_overlay(one, picture, tmp_path, outputs=model.outputs)).size[0] > 80


class TwoFaces:
    """Finds a face upright and one turned by a third of a right angle and half as large again."""

    name = "two faces"

    def __init__(self) -> None:
        template = template_points().numpy()
        turned = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
        self.moves = [(np.eye(2), np.array([30.0, 40.0])), (1.5 * turned, np.array([330.0, 60.0]))]
        self.points = [template @ linear.T + shift for linear, shift in self.moves]

    def detect(self, images: Sequence[np.ndarray]) -> list[Faces]:
        boxes = [[*points.min(0), *points.max(0)] for points in self.points]
        return [sorted_faces(boxes, self.points, [0.9, 0.8]) for _ in images]


def test_points_and_regions_of_several_turned_faces_lie_on_each(
    model: FaceModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    detector = TwoFaces()
    image = Image.new("RGB", (600, 300), GREY)
    drawing = ImageDraw.Draw(image)
    truth = []
    for linear, shift in detector.moves:
        own = np.rint((PLACES * 111) @ linear.T + shift)
        truth.append(own)
        for place, (x, y) in enumerate(own):
            drawing.ellipse(
                [x - 8, y - 8, x + 8, y + 8], fill=tuple(230 if place == channel else 20 for channel in range(3))
            )
    picture = encoded(image)
    (one,) = predict_pictures(model, [("a.png", picture)], detector=detector)
    assert [face.score for face in one.faces] == pytest.approx([0.9, 0.8])
    for face, own in zip(one.faces, truth, strict=True):
        assert np.abs(np.array(face.outputs["landmarks"]) - own).max() < 0.5
    write_predictions([one], tmp_path / "a.json")
    faces = json.loads((tmp_path / "a.json").read_text())[0]["faces"]
    for face, own, other in zip(faces, truth, truth[::-1], strict=True):
        regions = np.asarray(Image.open(tmp_path / face["outputs"]["parsing"]))
        assert regions.shape == (300, 600)
        assert [int(regions[round(y), round(x)]) for x, y in own] == [1, 2, 3]
        assert [int(regions[round(y), round(x)]) for x, y in other] == [0, 0, 0]
    pages = [
        np.asarray(Image.open(write_overlay(own, picture, tmp_path, outputs=model.outputs)))
        for own in (one, one._replace(faces=one.faces[:1]))
    ]
    left, top = (round(side) for side in one.faces[0].box[:2])  # type: ignore[index]
    corners = [page[top + 3 : top + 14, left + 3 : left + 14] for page in pages]
    assert [bool((corner[..., 0] > 180).any()) for corner in corners] == [True, False]  # its number, in orange


def test_an_answer_that_is_no_number_costs_its_picture_alone(model: FaceModel, tmp_path: Path) -> None:
    white = encoded(Image.new("RGB", (128, 128), "white"))
    pictures = [("a.png", encoded(drawn(128, 128))), ("white.png", white), ("c.png", encoded(drawn(128, 128)))]
    for batch_size in (1, 2, 64):
        found = predict_pictures(model, pictures, batch_size=batch_size)
        assert [one.error for one in found] == ["", found[1].error, ""]
        assert "its age is NaN, infinite or zero" in found[1].error
        assert [len(one.faces) for one in found] == [1, 0, 1]
    write_predictions(found, tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"white\.png and all others: its age is NaN"):
        predict_pictures(model, [pictures[1], pictures[1]])


class FirstOfTwo(TwoFaces):
    """Finds a second face whose points lie in one place."""

    def detect(self, images: Sequence[np.ndarray]) -> list[Faces]:
        points = [self.points[0], np.full((5, 2), 30.0)]
        return [sorted_faces([[0, 0, 90, 90], [20, 20, 40, 40]], points, [0.9, 0.8]) for _ in images]


def test_a_face_that_cannot_be_cut_out_beside_others_is_told(
    model: FaceModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    picture = torch.full((3, 300, 600), 90, dtype=torch.uint8)
    (one,) = predict_pictures(model, [("a.png", picture)], detector=FirstOfTwo())
    assert len(one.faces) == 1
    assert "a.png: 1 faces are answered; a face cannot be aligned" in caplog.text


class Corners:
    """Finds one face that fills what it is shown."""

    name = "corners"

    def detect(self, images: Sequence[np.ndarray]) -> list[Faces]:
        found = []
        for image in images:
            end = np.array([image.shape[1], image.shape[0]]) - 0.5
            points = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [1.0, 1.0]]) * (end + 0.5) - 0.5
            found.append(sorted_faces([[-0.5, -0.5, *end]], [points], [0.9]))
        return found


@pytest.mark.parametrize("size", [(30, 4000), (4000, 30), (10, 20), (301, 9000)])
def test_faces_of_reduced_pictures_end_where_the_picture_ends(size: tuple[int, int]) -> None:
    (found,) = detect_faces(Corners(), [np.zeros((*size, 3), dtype=np.uint8)])
    assert found.boxes[0].tolist() == pytest.approx([-0.5, -0.5, size[1] - 0.5, size[0] - 0.5], abs=1e-2)
    assert found.points[0][4].tolist() == pytest.approx([size[1] - 0.5, size[0] - 0.5], abs=1e-2)


def test_pictures_whose_files_would_have_one_name_are_refused() -> None:
    refuse_one_name(["a/b.jpg", "a_b.jpg", "b.jpg", "a/b.png"])
    with pytest.raises(ValueError, match=r"a/b\.jpg and a__b\.jpg"):
        refuse_one_name(["a/b.jpg", "c.jpg", "a__b.jpg"])
