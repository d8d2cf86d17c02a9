"""How pictures of other sizes become those a network takes."""

import pytest
import torch

from transface.images.fit import FITS, ImageSizeError, check_fit, fit_image, fit_matrix, placement, resize

ALL = ("letterbox", "center_crop", "stretch")


def gradient(height: int, width: int) -> torch.Tensor:
    """Red grows to the right, green downwards, both slowly enough that resampling changes little."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows, torch.full_like(rows, 128)]).to(torch.uint8)


@pytest.mark.parametrize("fit", FITS)
def test_a_picture_of_the_right_size_is_left_as_it_is(fit: str) -> None:
    image = gradient(40, 30)
    assert fit_image(image, (40, 30), fit=fit) is image  # type: ignore[arg-type]


def test_resize_never_distorts() -> None:
    image = gradient(218, 178)
    with pytest.raises(
        ImageSizeError,
        match=r"a\.jpg is 218x178, and resizing it to 112x112 would distort it: fit=letterbox .* detector",
    ):
        fit_image(image, (112, 112), fit="resize", name="a.jpg")
    assert fit_image(image, (109, 89), fit="resize").shape == (3, 109, 89)
    assert fit_image(image, (112, 91), fit="resize").shape == (3, 112, 91)  # rounding is no distortion
    assert fit_image(image, (112, 112), fit="stretch").shape == (3, 112, 112)


def test_refuse_says_what_to_do() -> None:
    with pytest.raises(ImageSizeError, match=r"must be 112x112, got 224x224; fit=resize takes"):
        fit_image(gradient(224, 224), (112, 112), fit="refuse")
    with pytest.raises(ImageSizeError, match=r"must be 112x112, got 218x178; fit=letterbox"):
        fit_image(gradient(218, 178), (112, 112), fit="refuse")


def test_center_crop_of_an_aligned_face_is_its_middle_columns() -> None:
    image = torch.randint(0, 256, (2, 3, 112, 112), dtype=torch.uint8)
    assert torch.equal(fit_image(image, (112, 96), fit="center_crop"), image[..., 8:104])


def test_letterbox_keeps_the_proportions_and_adds_black() -> None:
    image = torch.full((3, 218, 178), 200, dtype=torch.uint8)
    boxed = fit_image(image, (112, 112), fit="letterbox")
    lit = boxed[0] > 100
    rows, columns = int(lit.any(1).sum()), int(lit.any(0).sum())
    assert rows == 112
    assert abs(columns / rows - 178 / 218) < 0.01
    assert boxed[:, :, 0].max() == 0
    assert boxed[:, :, -1].max() == 0
    floats = fit_image(image.float() / 127.5 - 1, (112, 112), fit="letterbox")
    assert floats[:, :, 0].unique().tolist() == [-1.0]


@pytest.mark.parametrize("fit", ALL)
@pytest.mark.parametrize(
    ("found", "size"), [((60, 90), (48, 48)), ((90, 60), (112, 96)), ((40, 40), (218, 178)), ((218, 178), (112, 112))]
)
def test_points_move_with_the_pixels(fit: str, found: tuple[int, int], size: tuple[int, int]) -> None:
    """In a picture whose colours are its coordinates, the fitted pixel at a mapped point has the colour of the
    point.
    """
    fitted = fit_image(gradient(*found).float() / 127.5 - 1, size, fit=fit)  # type: ignore[arg-type]
    matrix = fit_matrix(found, size, fit=fit)  # type: ignore[arg-type]
    point = torch.tensor([found[1] * 0.55, found[0] * 0.45], dtype=torch.float64)
    x, y = matrix[:, :2] @ point + matrix[:, 2]
    column, row = int(x.round()), int(y.round())
    seen = (fitted[:2, row, column] + 1) * 127.5
    scale = matrix.diagonal()
    back = point + (torch.tensor([column - x, row - y]) / scale)
    assert torch.allclose(seen.double(), back, atol=0.6)


def test_extreme_shapes_keep_at_least_a_pixel() -> None:
    assert placement((1, 1000), (112, 112), fit="letterbox").inner == (1, 112)
    assert fit_image(gradient(1, 200), (20, 20), fit="center_crop").shape == (3, 20, 20)
    assert fit_image(gradient(1, 200), (20, 20), fit="letterbox").shape == (3, 20, 20)


def test_bytes_and_floats_are_resized_alike() -> None:
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    assert (resize(image, (30, 42)).float() - resize(image.float(), (30, 42))).abs().max() <= 1.5


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(
        ValueError, match="fit must be one of refuse, resize, letterbox, center_crop, stretch, got 'squash'"
    ):
        check_fit("squash")
