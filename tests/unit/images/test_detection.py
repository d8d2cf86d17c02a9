"""Detectors find faces in pictures of any size, policies choose, what was not found has a reason."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import transface
from transface.images.alignment import template_points
from transface.images.decoding import decode_image
from transface.images.detection import (
    Faces,
    areas,
    choose,
    detect_faces,
    is_ambiguous,
    no_faces,
    reason_for_none,
    sorted_faces,
)
from transface.images.detectors.opening import open_detector
from transface.images.faces import find_faces, find_in_files

SHARED = Path(os.environ.get("TRANSFACE_SHARED", Path(__file__).parents[4] / "shared"))
YUNET = SHARED / "models" / "yunet_2026may.onnx"


class BrightSquares:
    """Finds the bright square of a dark picture; its five points lie as the template's. Refuses pictures of 50
    pixels.
    """

    name = "bright squares"

    def detect(self, images: Sequence[np.ndarray]) -> list[Faces]:
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> Faces:
        if image.shape[0] == 50:
            raise RuntimeError("fifty!\nand a traceback")
        rows, columns = np.nonzero(image[:, :, 0] > 128)
        if not len(rows):
            return no_faces()
        low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])
        points = low + template_points().numpy() * ((high - low) / 111)
        return sorted_faces([[*low, *high]], points, [0.9])


def picture(height: int, width: int, top: int, left: int, side: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    return image


def made(*boxes: tuple[float, float, float, float]) -> Faces:
    return sorted_faces(boxes, np.zeros((len(boxes), 5, 2)), np.linspace(0.9, 0.5, len(boxes)))


@pytest.mark.parametrize(("height", "width"), [(300, 200), (2600, 2000), (28, 31)])
def test_faces_are_told_in_pixels_of_the_picture(height: int, width: int) -> None:
    side = min(height, width) // 2
    (found,) = detect_faces(BrightSquares(), [picture(height, width, height // 4, width // 5, side)])
    scale = max(max(height, width) / 1280, 1)
    np.testing.assert_allclose(
        found.boxes[0], [width // 5, height // 4, width // 5 + side - 1, height // 4 + side - 1], atol=1.5 * scale
    )


def test_a_detector_that_fails_costs_one_picture() -> None:
    good = picture(120, 120, 10, 10, 80)
    found = detect_faces(BrightSquares(), [good, picture(50, 50, 0, 0, 20), good, np.zeros((90, 90, 3), np.uint8)])
    assert [len(one) for one in found] == [1, 0, 1, 0]
    assert reason_for_none(found[1], "largest") == "detector failed: fifty!"
    assert reason_for_none(found[3], "largest") == "no face was found"


def test_policies_take_what_they_say() -> None:
    faces = made((80, 80, 120, 120), (0, 0, 60, 60), (150, 150, 190, 190))  # the highest score first
    sides = (200, 200)
    assert choose(faces, "largest", picture=sides) == [1]
    assert choose(faces, "central", picture=sides) == [0]
    assert choose(faces, "score", picture=sides) == [0]
    assert choose(faces, "all", picture=sides) == [0, 1, 2]
    assert choose(faces, "only", picture=sides) == []
    assert "3 faces, and faces=only" in reason_for_none(faces, "only")
    assert choose(no_faces(), "all", picture=sides) == []
    assert areas(faces).tolist() == [1600, 3600, 1600]
    assert not is_ambiguous(faces)
    assert is_ambiguous(made((0, 0, 10, 10), (20, 20, 30, 29)))
    with pytest.raises(ValueError, match="faces must be one of largest, central, score, all, only, got 'best'"):
        choose(faces, "best", picture=sides)  # type: ignore[arg-type]


def test_small_faces_are_left_out_when_asked() -> None:
    image = picture(200, 200, 20, 20, 56)  # 17.6 px between the eyes
    assert len(detect_faces(BrightSquares(), [image], min_eye_distance=15)[0]) == 1
    assert len(detect_faces(BrightSquares(), [image], min_eye_distance=20)[0]) == 0


def test_a_found_face_is_cut_out_at_any_size() -> None:
    image = torch.from_numpy(picture(300, 260, 40, 50, 150)).permute(2, 0, 1)
    for size, shape in ((112, (3, 112, 112)), ((218, 178), (3, 218, 178))):
        ((face,), reason) = find_faces(BrightSquares(), [image], size=size)[0]  # type: ignore[arg-type]
        assert reason is None
        assert face.image.shape == shape
        assert face.image.float().mean() > 235  # the square fills the crop, but for a rim of the taller one
    ((face,), _) = find_faces(BrightSquares(), [image], margin=1.0)[0]
    assert face.image[:, :20].max() == 0  # twice the field of view: dark all round


def test_files_are_looked_at_in_order_and_broken_ones_have_a_reason(tmp_path: Path) -> None:
    from PIL import Image

    paths = []
    for number in range(21):
        path = tmp_path / f"{number:02d}.png"
        if number == 7:
            path.write_bytes(b"\x89PNG broken")
        else:
            Image.fromarray(picture(120, 120 + number, 10, 10 + number // 2, 60 if number % 5 else 0)).save(path)
        paths.append(path)
    found = list(find_in_files(BrightSquares, paths, num_threads=3))
    assert [bool(one.faces) for one in found] == [number != 7 and number % 5 != 0 for number in range(21)]
    assert "07.png cannot be decoded" in str(found[7].reason)
    assert found[10].reason == "no face was found"
    assert found[11].faces[0].box[0] == pytest.approx(15, abs=0.6)


def test_one_photograph_gives_a_list_and_several_a_list_of_lists() -> None:
    image = picture(200, 200, 30, 30, 120)
    assert len(transface.faces(image, BrightSquares())) == 1
    assert [len(one) for one in transface.faces([image, np.zeros_like(image)], BrightSquares())] == [1, 0]


@pytest.mark.parametrize(
    ("name", "words"),
    [("dlib", "got 'dlib'"), ("yunet", "yunet:FILE.onnx"), ("scrfd:absent.onnx", "no detector at absent.onnx")],
)
def test_a_detector_that_is_not_there_is_named(name: str, words: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        open_detector(name)


def scrfd_file(path: Path, side: int, num_outputs: int) -> Path:
    """A network of constants: one anchor of each stride says there is a face."""
    strides = {9: (8, 16, 32), 15: (8, 16, 32, 64, 128)}.get(num_outputs, (8, 16, 32))
    anchors = 2 if num_outputs in (6, 9) else 1
    nodes, outputs = [], []
    for part, width in (("score", 1), ("box", 4), ("points", 10))[: num_outputs // len(strides)]:
        for stride in strides:
            count = (side // stride) ** 2 * anchors
            values = np.zeros((count, width), np.float32)
            if part == "score":
                values[anchors * (side // stride + 1)] = 0.9 if stride == 16 else 0.3  # at row 1, column 1
            elif part == "box":
                values[:] = [1, 1, 2, 2]
            else:
                values[:] = np.arange(10) / 10
            name = f"{part}{stride}"
            nodes.append(
                helper.make_node(
                    "Constant",
                    [],
                    [name],
                    value=helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.ravel()),
                )
            )
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape))
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])
    model = helper.make_model(
        helper.make_graph(nodes, "scrfd", [entry], outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("num_outputs", [9, 15])
def test_scrfd_boxes_and_points_are_distances_in_strides_from_the_anchor(tmp_path: Path, num_outputs: int) -> None:
    detector = open_detector(f"scrfd:{scrfd_file(tmp_path / 'd.onnx', 256, num_outputs)}")
    (found,) = detector.detect([np.zeros((128, 64, 3), np.uint8)])  # enlarged twice
    np.testing.assert_allclose(found.boxes, [[0, 0, 24, 24]])  # (16 -+ strides of 16) / 2
    np.testing.assert_allclose(found.points[0], (16 + 16 * np.arange(10).reshape(5, 2) / 10) / 2, rtol=1e-6)
    assert found.scores.tolist() == pytest.approx([0.9])


def test_a_scrfd_without_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boxes without points"):
        open_detector(f"scrfd:{scrfd_file(tmp_path / 'd.onnx', 64, 6)}")


def photographs(count: int) -> list[np.ndarray]:
    folder = SHARED / "data" / "real" / "celebamask_hq"
    files = sorted(folder.rglob("*.jpg"))[:count]
    if not files:
        pytest.skip("no real photographs: set TRANSFACE_SHARED")
    return [np.ascontiguousarray(decode_image(file.read_bytes()).permute(1, 2, 0).numpy()) for file in files]


def test_mtcnn_and_yunet_find_the_same_faces_of_real_photographs() -> None:
    pytest.importorskip("facenet_pytorch", reason="mtcnn: pip install --no-deps facenet-pytorch==2.6.0")
    pytest.importorskip("cv2", reason="yunet: pip install opencv-python-headless")
    if not YUNET.is_file():
        pytest.skip("no yunet_2026may.onnx in shared/models")
    images = photographs(8)
    both = [detect_faces(open_detector(name), images) for name in ("mtcnn", f"yunet:{YUNET}")]
    for image, one, other in zip(images, *both, strict=True):
        first, second = (faces.points[choose(faces, "largest", picture=image.shape[:2])[0]] for faces in (one, other))
        eyes = np.linalg.norm(first[1] - first[0])
        assert np.linalg.norm(first - second, axis=-1).mean() / eyes < 0.2
        assert first[1, 0] > first[0, 0]
