"""Alignment against Umeyama's closed form by SVD, against a search, and against a pixel-by-pixel warp."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from transface.images.alignment import (
    TEMPLATE,
    align_faces,
    align_image,
    read_points,
    similarity_transforms,
    template_points,
    warp,
)


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """S. Umeyama, 1991: scale, rotation, shift by the SVD of the covariance."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    covariance = (target - mean_t).T @ (source - mean_s) / len(source)
    u, d, v = np.linalg.svd(covariance)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    rotation = u @ np.diag(sign) @ v
    scale = (d * sign).sum() / ((source - mean_s) ** 2).sum(1).mean()
    return np.concatenate([scale * rotation, (mean_t - scale * rotation @ mean_s)[:, None]], 1)


def similarity(angle: float, scale: float, shift: tuple[float, float]) -> torch.Tensor:
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[c, -s, shift[0]], [s, c, shift[1]]], dtype=torch.float64)


def moved(points: torch.Tensor, transform: torch.Tensor) -> torch.Tensor:
    return points @ transform[:, :2].T + transform[:, 2]


def test_random_points_get_the_transform_of_umeyama() -> None:
    points = torch.randn(50, 5, 2, dtype=torch.float64) * 40 + 60
    ours = similarity_transforms(points).numpy()
    for row in range(50):
        np.testing.assert_allclose(ours[row], umeyama(points[row].numpy(), np.array(TEMPLATE)), rtol=1e-9, atol=1e-9)


def test_mirrored_points_are_turned_not_reflected() -> None:
    mirrored = template_points() * torch.tensor([-1.0, 1.0])
    transform = similarity_transforms(mirrored[None])[0].numpy()
    assert np.linalg.det(transform[:, :2]) > 0
    np.testing.assert_allclose(transform, umeyama(mirrored.numpy(), np.array(TEMPLATE)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 1, (0, 0)), (0.4, 3.5, (120, -7)), (3, 0.3, (5, 900))])
def test_a_moved_template_is_brought_back_exactly(angle: float, scale: float, shift: tuple[float, float]) -> None:
    points = moved(template_points(), similarity(angle, scale, shift))
    back = similarity_transforms(points[None])[0]
    assert torch.allclose(moved(points, back), template_points(), atol=1e-9)


def test_no_other_similarity_is_nearer() -> None:
    points = template_points() + torch.randn(5, 2, dtype=torch.float64) * 6
    best = similarity_transforms(points[None])[0]

    def error(transform: torch.Tensor) -> float:
        return float((moved(points, transform) - template_points()).square().sum())

    for _ in range(200):
        a, b, x, y = (torch.randn(4, dtype=torch.float64) * 0.01).tolist()
        other = best + torch.tensor([[a, -b, x], [b, a, y]], dtype=torch.float64)
        assert error(other) > error(best)


def naive_warp(image: np.ndarray, transform: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    full = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))
    channels, height, width = image.shape
    out = np.zeros((channels, *size))
    for v in range(size[0]):
        for u in range(size[1]):
            x, y, _ = full @ [u, v, 1]
            left, top = math.floor(x), math.floor(y)
            for dy in (0, 1):
                for dx in (0, 1):
                    if 0 <= left + dx < width and 0 <= top + dy < height:
                        weight = (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
                        out[:, v, u] += weight * image[:, top + dy, left + dx]
    return out


def test_warping_is_the_naive_bilinear_sampling() -> None:
    images = torch.rand(3, 2, 13, 17, dtype=torch.float64)
    transforms = torch.stack([similarity(0.3, 0.8, (4, 1)), similarity(-2, 1.7, (9, 12)), similarity(0, 1, (-3, 2))])
    result = warp(images, transforms, size=(9, 11))
    for row in range(3):
        np.testing.assert_allclose(
            result[row].numpy(), naive_warp(images[row].numpy(), transforms[row].numpy(), (9, 11)), atol=1e-9
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_precision_of_the_image_does_not_move_its_pixels(dtype: torch.dtype) -> None:
    ramp = torch.linspace(-1, 1, 1000).expand(1, 3, 1000, 1000)
    points = template_points()[None] * 4 + 300
    found, wanted = align_faces(ramp.to(dtype), points), align_faces(ramp, points)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), wanted, atol=torch.finfo(dtype).eps + 1e-6, rtol=0)


def test_an_aligned_face_stays_as_it_is() -> None:
    images = torch.randint(0, 256, (2, 3, 112, 112), dtype=torch.uint8)
    assert torch.equal(align_faces(images, template_points().expand(2, 5, 2)), images)


def test_a_face_is_found_in_a_larger_image(make_picture) -> None:
    face = make_picture(3).to(torch.float32)
    place = similarity(0.35, 2.2, (150, 40))
    scene = warp(face[None], place[None], size=(400, 420))
    back = align_image(scene[0], moved(template_points(), place))
    assert (back[0] - face)[:, 2:-2, 2:-2].abs().mean() < 2  # grey levels: interpolated twice
    both = align_image(scene[0].to(torch.uint8), torch.stack([moved(template_points(), place), template_points()]))
    assert both.shape == (2, 3, 112, 112)
    assert both.dtype == torch.uint8
    assert torch.equal(both[1], scene[0, :, :112, :112].to(torch.uint8))


def test_another_face_size_scales_the_template() -> None:
    images = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    assert torch.equal(align_faces(images, 2 * template_points()[None], size=224), images)


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        (torch.zeros(2, 4, 2), r"points must be \(B, 5, 2\), got \(2, 4, 2\)"),
        (torch.stack([template_points(), torch.ones(5, 2)]), "points of face 1 are not finite or all in one place"),
        (torch.full((1, 5, 2), float("nan")), "points of face 0"),
    ],
)
def test_unusable_points_are_refused(points: torch.Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        similarity_transforms(points)


def test_points_are_read_from_csv(tmp_path: Path) -> None:
    numbers = [float(number) for pair in TEMPLATE for number in pair]
    path = tmp_path / "points.csv"
    row = ",".join(map(str, numbers))
    path.write_text(f"image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\na.jpg,{row}\n\nfolder/b, c.jpg,{row}\n")
    faces = read_points(path)
    assert [face.path for face in faces] == ["a.jpg", "folder/b, c.jpg"]
    assert torch.equal(faces[1].points, template_points())


@pytest.mark.parametrize("line", ["a.jpg,1,2,3", "a.jpg,1,2,3,4,5,6,7,8,9,x", "a.jpg,1,2,3,4,5,6,7,8,9,nan"])
def test_a_wrong_line_of_points_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(f"a.jpg,1,2,3,4,5,6,7,8,9,10\n{line}\n")
    with pytest.raises(ValueError, match=r"points\.csv: line 2 must be 'image,x1,y1,...,x5,y5'"):
        read_points(path)
    with pytest.raises(FileNotFoundError, match="no points file"):
        read_points(tmp_path / "absent.csv")
