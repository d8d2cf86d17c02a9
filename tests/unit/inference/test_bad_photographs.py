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
from transface.__main__ import main
from transface.images import faces as faces_home
from transface.images.alignment import template_points
from transface.images.detection import Faces, no_faces, sorted_faces
from transface.images.detectors import locating
from transface.images.files import list_images
from transface.inference import face_model as face_model_home
from transface.inference.face_model import FaceModel
from transface.inference.folders import align_folder as align_home
from transface.inference.folders import folder_embedding as embedding_home
from transface.inference.folders.align_folder import align_folder
from transface.inference.folders.embeddings_file import read_embeddings
from transface.inference.folders.folder_embedding import embed_folder
from transface.inference.publishing import publish

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
def _detector(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path_factory.mktemp("cache")))
    for home in (faces_home, face_model_home, align_home, embedding_home, locating):
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


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two people's photographs, of which one has no face, one two of a size, and one is a web page."""
    scenes = {"ann/0": [(10, 10)], "ann/1": [], "bob/0": [(10, 10), (170, 90)], "bob/1": [(90, 90)]}
    for name, places in scenes.items():
        path = tmp_path / "mixed" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(places)).save(path)
    (tmp_path / "mixed" / "bob" / "2.png").write_text("<html>404</html>")
    return tmp_path / "mixed"


def test_what_align_found_in_no_picture_is_a_counted_skip_of_the_others(
    mixed: Path, small_model: FaceModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    align_folder(mixed, tmp_path / "aligned", "any")
    model, table = str(tmp_path / "model"), tmp_path / "aligned" / "faces.csv"
    publish(small_model, model)
    embed = ["embed", f"checkpoint={model}", f"images={mixed}", f"points={table}"]
    assert main([*embed, f"output={tmp_path}/a.npz"]) == 2
    assert f"{table} has no points of ann/1.png: no face was found" in capsys.readouterr().err
    assert main([*embed, f"output={tmp_path}/b.npz", "unreadable=skip"]) == 0
    found = read_embeddings(tmp_path / "b.npz")
    assert found.names.tolist() == ["ann/0.png", "bob/0.png", "bob/1.png"]
    assert found.skipped.tolist() == ["ann/1.png", "bob/2.png"]
    capsys.readouterr()
    assert main(["predict", str(mixed), f"checkpoint={model}", f"points={table}"]) == 1
    said = capsys.readouterr()
    assert "ann/1.png: no face was found" in said.out + said.err
    pair = [str(mixed / "ann" / "0.png"), str(mixed / "ann" / "1.png")]
    assert main(["compare", *pair, f"checkpoint={model}", f"points={table}"]) == 2
    assert "ann/1.png: no face was found" in capsys.readouterr().err
    pack = ["pack", "from-folder", str(mixed), str(tmp_path / "pack"), "--points", str(table)]
    assert main(pack) == 2
    assert "no face was found" in capsys.readouterr().err
    assert main([*pack, "--skip-bad"]) == 0
    assert "3 images of 2 identities" in capsys.readouterr().out


def test_one_of_several_faces_is_told_wherever_faces_are_located(
    mixed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["pack", "from-folder", str(mixed), str(tmp_path / "p"), "--detector", "any", "--skip-bad"]) == 0
    locating.locate_faces([mixed / "bob" / "0.png"], "any")
    locating.locate_faces([mixed / "bob" / "0.png"], "any")
    said = [line.getMessage() for line in caplog.records if "one face of several was taken" in line.getMessage()]
    assert [line.split(" pictures")[0] for line in said] == ["1 of 5", "1 of 1"]


def test_the_middle_is_taken_of_pictures_without_a_face_and_not_of_what_is_no_picture(mixed: Path) -> None:
    paths = sorted(mixed.rglob("*.png"))
    for _ in range(2):  # looked for, and kept
        with pytest.raises(ValueError, match=r"1 of 5 pictures cannot be read, mend or remove them: image .*2.png"):
            locating.found_points(paths, "any", missing="center")
        with pytest.raises(ValueError, match=r"2 of 5 pictures have no face .*middle of those that can be read, the o"):
            locating.found_points(paths, "any")
    points = locating.found_points(paths[:-1], "any", missing="center")
    assert np.isnan(points[:, 0, 0]).tolist() == [False, True, False, False]
    with pytest.raises(ValueError, match=r"1 of 4 pictures have no face to take: .*1.png: no face was found; missing="):
        locating.found_points(paths[:-1], "any")
