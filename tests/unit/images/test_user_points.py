"""Pictures of any size with five points give the embeddings of the aligned faces in them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transface.images.alignment import template_points
from transface.images.user_points import points_by_name
from transface.inference.face_model import FaceModel

SMOOTH = np.stack(np.meshgrid(np.linspace(40, 200, 112), np.linspace(220, 30, 112)), -1)
FACE = np.concatenate([SMOOTH, 255 - SMOOTH[..., :1]], -1).astype(np.uint8)


def placed(face: np.ndarray, *, x: int, y: int, scale: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A picture with the face enlarged and shifted, and where its points are then."""
    picture = np.zeros((*size, 3), np.uint8)
    large = np.asarray(Image.fromarray(face).resize((112 * scale, 112 * scale), Image.Resampling.BILINEAR))
    picture[y : y + len(large), x : x + len(large)] = large
    five = template_points().numpy() * scale + (scale - 1) / 2 + [x, y]
    return picture, five


def test_the_templates_points_leave_a_face_as_it_is(small_model: FaceModel) -> None:
    found = small_model.embed(FACE, points=template_points())
    torch.testing.assert_close(found, small_model.embed(FACE), rtol=1e-4, atol=1e-4)


def test_points_may_be_a_view_turned_round(small_model: FaceModel) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    points = template_points().numpy() * 1.3 + np.random.default_rng(1).uniform(20, 22, (5, 2))
    turned = np.ascontiguousarray(points[:, ::-1])[:, ::-1]  # (y, x) rows, the columns exchanged
    assert turned.strides[1] < 0
    torch.testing.assert_close(small_model.embed(picture, points=turned), small_model.embed(picture, points=points))


def test_a_face_is_found_wherever_it_lies_and_however_large(small_model: FaceModel) -> None:
    wanted = small_model.embed(FACE)[0]
    pictures, points = zip(
        placed(FACE, x=30, y=50, scale=1, size=(300, 260)),
        placed(FACE, x=70, y=10, scale=3, size=(400, 500)),
        strict=True,
    )
    found = small_model.embed(list(pictures), points=np.stack(points), batch_size=1)
    assert found.shape == (2, 8)
    assert float((found @ wanted).min()) > 0.999
    assert float(small_model.embed(pictures[0], fit="stretch")[0] @ wanted) < 0.99


def test_a_turned_face_is_turned_back(small_model: FaceModel) -> None:
    angle = math.pi / 2
    turned = np.rot90(FACE, k=-1).copy()  # clockwise: a point (x, y) goes to (111 - y, x)
    five = template_points().numpy() @ np.array(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    ) + [111, 0]
    assert float(small_model.embed(turned, points=five)[0] @ small_model.embed(FACE)[0]) > 0.999


def test_one_picture_may_hold_several_faces(small_model: FaceModel, tmp_path: Path) -> None:
    first, five = placed(FACE, x=0, y=0, scale=1, size=(112, 300))
    second, other = placed(FACE[::-1], x=150, y=0, scale=1, size=(112, 300))
    Image.fromarray(np.maximum(first, second)).save(tmp_path / "both.png")
    found = small_model.embed(tmp_path / "both.png", points=[five, other])
    wanted = small_model.embed([FACE, FACE[::-1].copy()])
    assert float((found * wanted).sum(1).min()) > 0.999


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((4, 2)), r"\(5, 2\) or \(N, 5, 2\)"),
        (np.zeros((3, 5, 2)), "2 pictures and points"),
        (np.full((2, 5, 2), np.nan), "not finite"),
        (np.ones((2, 5, 2)), r"points\[0\]"),
        ("eyes", "must be numbers"),
    ],
)
def test_points_that_cannot_be_are_refused(small_model: FaceModel, points: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_model.embed([FACE, FACE], points=points)


def test_a_points_file_names_each_picture_once(tmp_path: Path) -> None:
    line = ",".join(str(float(value)) for value in template_points().flatten())
    (tmp_path / "p.csv").write_text(f"image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\na.jpg,{line}\nb/c.jpg,{line}\n")
    found = points_by_name(tmp_path / "p.csv")
    assert set(found) == {"a.jpg", "b/c.jpg"}
    np.testing.assert_allclose(found["b/c.jpg"], template_points().numpy())
    (tmp_path / "p.csv").write_text(f"a.jpg,{line}\na.jpg,{line}\n")
    with pytest.raises(ValueError, match=r"two faces of a\.jpg"):
        points_by_name(tmp_path / "p.csv")


POINTS = [f"{value:.2f}" for value in template_points().flatten().tolist()]
USUAL = [f"{axis}{number}" for number in range(1, 6) for axis in "xy"]
OTHER = [f"{axis}{number}" for axis in "yx" for number in range(5, 0, -1)]


def in_order(columns: list[str]) -> list[str]:
    values = dict(zip(USUAL, POINTS, strict=True))
    return [values[column] for column in columns]


@pytest.mark.parametrize(
    "lines",
    [
        [["image", *USUAL], ["a.jpg", *POINTS]],
        [["Image", *map(str.upper, USUAL)], ["./a.jpg", *POINTS]],
        [["image", *OTHER], ["a.jpg", *in_order(OTHER)]],
        [["", "name", *USUAL], ["0", "a.jpg", *POINTS]],
        [[*USUAL, "score", "file"], [*POINTS, "0.9", "a.jpg"]],
        [["a.jpg", *POINTS]],
        [["# five points"], ["a.jpg", *POINTS]],
        [['"image"', *USUAL], ['"a.jpg"', *POINTS]],
    ],
    ids=["usual", "capitals", "order", "index", "last", "no head", "comment", "quoted"],
)
@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_points_are_read_by_the_names_of_their_columns(
    tmp_path: Path, lines: list[list[str]], encoding: str, end: str
) -> None:
    (tmp_path / "p.csv").write_bytes("".join(f"{','.join(line)}{end}" for line in lines).encode(encoding))
    found = points_by_name(tmp_path / "p.csv")
    assert found.key_of("a.jpg") == "a.jpg"
    np.testing.assert_allclose(found["a.jpg"], template_points().numpy(), atol=0.01)
    found.check(["./a.jpg"], lambda name: tmp_path / name)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([["a.jpg", *POINTS[:9], "nan"], ["b.jpg", *POINTS]], "line 1 must be 'image,x1"),
        ([["image", *USUAL, "x1"], ["a.jpg", *POINTS, "3"]], "has 2 columns x1"),
        ([["picture", *USUAL, "score"], ["a.jpg", *POINTS, "1"]], "must have a column file or image or path or name"),
        ([["image", *USUAL, "score"], ["a.jpg", *POINTS]], "line 2 has 11 values, its first line names 12 columns"),
        ([["image", *USUAL[:9]], ["a.jpg", *POINTS[:9]]], "line 2 must have numbers in the columns x1..x5"),
    ],
)
def test_what_is_no_table_of_points_is_refused(tmp_path: Path, lines: list[list[str]], said: str) -> None:
    (tmp_path / "p.csv").write_text("".join(f"{','.join(line)}\n" for line in lines))
    with pytest.raises(ValueError, match=said):
        points_by_name(tmp_path / "p.csv")


def test_points_of_none_of_the_pictures_are_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(f"/data/photos/a.jpg,{','.join(POINTS)}\n")
    points = points_by_name(tmp_path / "p.csv")
    with pytest.raises(
        ValueError, match=r"no points for a\.jpg: .*p\.csv has some of none .* names /data/photos/a\.jpg"
    ):
        points.check(["a.jpg"], lambda name: tmp_path / name)


def test_the_longest_end_of_a_path_that_the_file_names_is_meant(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("".join(f"{name},{','.join(POINTS)}\n" for name in ("a/0.jpg", "b/0.jpg", "0.jpg")))
    points = points_by_name(tmp_path / "p.csv")
    found = [points.key_of(name) for name in ("photos/b/0.jpg", "a/0.jpg", "c/0.jpg", "/x/a/./0.jpg", "c/1.jpg")]
    assert found == ["b/0.jpg", "a/0.jpg", "0.jpg", "a/0.jpg", None]


@pytest.mark.parametrize(("listed", "lying"), [("\u00e9.jpg", "e\u0301.jpg"), ("e\u0301.jpg", "\u00e9.jpg")])
def test_an_accent_as_one_sign_or_as_two_is_one_name(tmp_path: Path, listed: str, lying: str) -> None:
    (tmp_path / "p.csv").write_text(f"a/{listed},{','.join(POINTS)}\n")
    assert points_by_name(tmp_path / "p.csv").key_of(f"a/{lying}") == f"a/{listed}"
