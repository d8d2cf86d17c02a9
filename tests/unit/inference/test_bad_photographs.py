"""What users hand in: no face, forty faces, a phone's turned picture, a very large one, a GIF, a truncated file, one
broken of a thousand, points outside, exchanged eyes: a clear line or a counted skip, never a wrong answer.
"""

import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import transface
from transface.images import faces as faces_home
from transface.images.alignment import template_points
from transface.images.detection import Faces, no_faces, sorted_faces
from transface.images.files import list_images
from transface.inference import face_model as face_model_home
from transface.inference.face_model import FaceModel
from transface.inference.folders import align_folder as align_home
from transface.inference.folders import folder_embedding as embedding_home
from transface.inference.folders.align_folder import align_folder
from transface.inference.folders.folder_embedding import embed_folder

SIDE = 60


class BrightSquares:
    """Finds every bright square of a dark picture on a grid of 80 pixels; the points lie as the template's."""

    name = "bright squares"

    def detect(self, images: Sequence[np.ndarray]) -> list[Faces]:
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> Faces:
        boxes = []
        bright = image[:, :, 0] > 128
        for top in range(0, image.shape[0], 80):
            for left in range(0, image.shape[1], 80):
                rows, columns = np.nonzero(bright[top : top + 80, left : left + 80])
                if len(rows) > 100:
                    low = np.array([left + columns.min(), top + rows.min()])
                    boxes.append([*low, *(low + np.array([np.ptp(columns), np.ptp(rows)]))])
        if not boxes:
            return no_faces()
        points = [np.array(box[:2]) + template_points().numpy() * ((box[2] - box[0]) / 111) for box in boxes]
        return sorted_faces(boxes, points, np.linspace(0.9, 0.5, len(boxes)))


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    for home in (faces_home, face_model_home, align_home, embedding_home):
        monkeypatch.setattr(home, "open_detector", lambda *_, **__: BrightSquares())


def scene(places: Sequence[tuple[int, int]], *, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    for left, top in places:
        image[top : top + SIDE, left : left + SIDE] = 150 + np.arange(SIDE, dtype=np.uint8)[:, None, None]
    return image


def test_no_face_is_named_and_forty_are_all_found(small_model: FaceModel) -> None:
    with pytest.raises(ValueError, match=r"images\[1\]: no face was found"):
        small_model.embed([scene([(10, 10)]), scene([])], detector="any")
    places = [(8 + 80 * column, 8 + 80 * row) for row in range(5) for column in range(8)]
    crowd = scene(places, size=(400, 640))
    assert len(transface.faces(crowd, "any")) == 40
    with pytest.raises(ValueError, match="40 faces, and faces=only takes pictures of one"):
        small_model.embed(crowd, detector="any", faces="only")


def test_a_phones_turned_picture_is_upright(tmp_path: Path) -> None:
    upright = Image.fromarray(scene([(90, 10)]))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    upright.save(tmp_path / "plain.jpg", quality=95)
    (turned,), (plain,) = (transface.faces(tmp_path / name, "any") for name in ("phone.jpg", "plain.jpg"))
    np.testing.assert_allclose(turned.box, plain.box, atol=1.5)


def test_twenty_megapixels_are_looked_at_small_and_cut_from_the_whole(tmp_path: Path) -> None:
    large = Image.fromarray(scene([(90, 10)])).resize((5120, 3840), Image.Resampling.NEAREST)
    large.save(tmp_path / "large.jpg", quality=90)
    started = time.monotonic()
    (face,) = transface.faces(tmp_path / "large.jpg", "any", max_side=320)
    assert face.image.shape == (3, 112, 112)
    np.testing.assert_allclose(face.box, [90 * 16, 10 * 16, 150 * 16, 70 * 16], atol=32)
    assert time.monotonic() - started < 60


def test_what_cannot_be_read_says_what_it_is(tmp_path: Path) -> None:
    Image.fromarray(scene([(10, 10)])).save(tmp_path / "moving.gif")
    with pytest.raises(ValueError, match="GIF"):
        transface.faces(tmp_path / "moving.gif", "any")
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(stream, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 3])
    with pytest.raises(ValueError, match=r"cut\.jpg"):
        transface.faces(tmp_path / "cut.jpg", "any")


def test_one_broken_of_many_costs_itself_alone(tmp_path: Path, small_model: FaceModel) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(40):
        Image.fromarray(scene([(10 + number, 10)], size=(90, 200))).save(folder / f"{number:03d}.png")
    (folder / "017.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    found = embed_folder(
        small_model, list_images(folder), tmp_path / "o.npz", detector="any", unreadable="skip", batch_size=8
    )
    assert (len(found.names), found.skipped.tolist()) == (39, ["017.png"])
    with pytest.raises(ValueError, match=r"017\.png"):
        embed_folder(small_model, list_images(folder), tmp_path / "p.npz", detector="any", batch_size=8)
    done = align_folder(folder, tmp_path / "out", "any", num_threads=2)
    assert (done.num_pictures, done.num_faces, list(done.failed)) == (40, 39, ["017.png"])


def test_points_outside_and_exchanged_eyes_are_refused_by_name(small_model: FaceModel) -> None:
    picture = scene([(10, 10)])
    good = template_points() * (SIDE / 111) + 10
    assert small_model.embed(picture, points=good).shape == (1, 8)
    with pytest.raises(ValueError, match="outside the picture"):
        small_model.embed(picture, points=good + torch.tensor([500.0, 0.0]))
    with pytest.raises(ValueError, match=r"exchanged|swapped|left and right"):
        small_model.embed(picture, points=good[[1, 0, 2, 4, 3]])
