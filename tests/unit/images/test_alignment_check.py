"""Points that cannot be a face's are refused by name, odd ones warned of; 68 points and rectangles are aligned too."""

import logging
from pathlib import Path

import pytest
import torch

from transface.images.alignment import align_image, five_points, read_points, similarity_transforms, template_points
from transface.images.alignment_check import check_listed_points, check_points, fit_of_points, refusals, share_outside

GOOD = template_points() * 1.7 + torch.tensor([30.0, 12.0], dtype=torch.float64)


def turned(points: torch.Tensor, degrees: float) -> torch.Tensor:
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    matrix = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return points @ matrix.T


@pytest.mark.parametrize("degrees", [0, 45, 90, 180, -120])
def test_a_face_is_good_however_it_is_turned(degrees: float) -> None:
    points = turned(GOOD, degrees)
    assert refusals(points[None]) == [None]
    assert float(fit_of_points(points[None]).residual) < 1e-9


def test_the_residual_is_the_naive_one() -> None:
    points = GOOD + torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    matrix = similarity_transforms(points[None])[0]
    errors = [
        float((matrix[:, :2] @ p + matrix[:, 2] - t).norm()) for p, t in zip(points, template_points(), strict=True)
    ]
    eyes = float((template_points()[1] - template_points()[0]).norm())
    assert float(fit_of_points(points[None]).residual) == pytest.approx((sum(e * e for e in errors) / 5) ** 0.5 / eyes)


@pytest.mark.parametrize("order", [[1, 0, 2, 3, 4], [1, 0, 2, 4, 3]])
def test_exchanged_eyes_are_refused(order: list[int]) -> None:
    with pytest.raises(ValueError, match=r"a\.jpg cannot be aligned: left and right are exchanged"):
        check_points(GOOD[order], name="a.jpg")


def test_columns_of_another_order_are_refused() -> None:
    columns = GOOD.T.reshape(5, 2)  # x1..x5, y1..y5 read as x1, y1, x2, ...
    with pytest.raises(ValueError, match=r"a\.jpg cannot be aligned: .*expected x, y of left eye"):
        check_points(columns, name="a.jpg")


def test_tiny_faces_and_faces_outside_are_refused() -> None:
    assert "2.0 pixels apart" in str(refusals(template_points()[None] * (2 / 35.24))[0])
    shifted = template_points() - torch.tensor([60.0, 0.0], dtype=torch.float64)
    assert float(share_outside(shifted[None], (112, 112))) == pytest.approx(60 / 112, abs=0.05)
    assert "lies outside the picture" in str(refusals(shifted[None], picture=(112, 112))[0])
    assert refusals(template_points()[None], picture=(112, 112)) == [None]


def test_a_profile_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    profile = template_points().clone()
    profile[:, 0] = 56 + (profile[:, 0] - 56) * 0.4
    profile[2, 0] += 12
    with caplog.at_level(logging.WARNING):
        check_points(profile, name="side.jpg")
    assert "side.jpg: its points miss the template" in caplog.text


def test_a_list_of_a_wrong_order_is_refused_and_a_single_bad_line_told(caplog: pytest.LogCaptureFixture) -> None:
    wrong = GOOD[[1, 0, 2, 4, 3]]
    with pytest.raises(ValueError, match=r"mine: the points of 3 of 4 faces cannot be right; a: left and right"):
        check_listed_points(torch.stack([wrong, wrong, wrong, GOOD]), list("abcd"), source="mine")
    with caplog.at_level(logging.WARNING):
        check_listed_points(torch.stack([wrong, GOOD, GOOD, GOOD]), list("abcd"), source="mine")
    assert "1 of 4 faces look wrong: a: left" in caplog.text


def test_sixty_eight_points_are_five(tmp_path: Path) -> None:
    many = torch.rand(68, 2, dtype=torch.float64)
    five = five_points(many)
    assert torch.allclose(five[0], many[36:42].mean(0))
    assert torch.equal(five[2:], many[[30, 48, 54]])
    line = ",".join(f"{value:.17g}" for value in many.flatten().tolist())
    (tmp_path / "p.csv").write_text(f"name with, comma.jpg,{line}\n")
    (found,) = read_points(tmp_path / "p.csv")
    assert found.path == "name with, comma.jpg"
    assert torch.allclose(found.points, five)
    with pytest.raises(ValueError, match="5 or 68 points"):
        five_points(torch.zeros(6, 2))


def test_a_table_with_more_columns_is_read_by_its_names(tmp_path: Path) -> None:
    names = "file,face," + ",".join(f"x{n},y{n}" for n in range(1, 6)) + ",score,reason"
    numbers = ",".join(str(float(v)) for v in GOOD.flatten().tolist())
    (tmp_path / "t.csv").write_text(f'{names}\n"a, b.jpg",0,{numbers},0.99,\nnone.jpg,,,,,,,,,,,,,no face\n')
    (found,) = read_points(tmp_path / "t.csv")
    assert found.path == "a, b.jpg"
    assert torch.allclose(found.points, GOOD)


def test_templates_of_other_sizes() -> None:
    base = template_points()
    assert torch.allclose(template_points((112, 96)), base - torch.tensor([8.0, 0.0], dtype=torch.float64))
    assert torch.allclose(template_points(224), base * 2)
    assert torch.allclose(template_points(256), base * 2 + torch.tensor([16.0, 0.0], dtype=torch.float64))
    centre = torch.tensor([55.5, 55.5], dtype=torch.float64)
    assert torch.allclose(template_points(112, margin=0.25), centre + (base - centre) / 1.25)
    face = align_image(torch.zeros(3, 300, 300, dtype=torch.uint8), GOOD, size=(218, 178))
    assert face.shape == (1, 3, 218, 178)


def test_the_middle_columns_of_a_face_are_the_face_aligned_to_the_narrow_template() -> None:
    image = torch.randint(0, 256, (3, 260, 260), dtype=torch.uint8)
    wide, narrow = align_image(image, GOOD), align_image(image, GOOD, size=(112, 96))
    assert (wide[..., 8:104].int() - narrow.int()).abs().max() <= 1


def test_a_large_picture_is_averaged_before_it_shrinks() -> None:
    """Stripes of one pixel are grey from afar; sampled at single points they would be black and white at random."""
    stripes = (torch.arange(1200) % 2 * 255).to(torch.uint8).expand(3, 1200, 1200)
    face = align_image(stripes, template_points() * 9.7 + 40)[0].float()
    assert face[:, 10:100, 10:100].std() < 25
    ramp = torch.linspace(0, 255, 1200).expand(3, 1200, 1200)
    aligned = align_image(ramp, template_points() * 8.3 + 60.0)[0]
    x = torch.arange(112) * 8.3 + 60.0
    assert (aligned[0, 50] - x * 255 / 1199).abs()[2:-2].max() < 0.2


@pytest.mark.parametrize("odd", [0.0, float("nan"), float("inf")])
def test_a_face_without_places_costs_itself_and_not_its_list(odd: float, caplog: pytest.LogCaptureFixture) -> None:
    points = torch.stack([GOOD, torch.full((5, 2), odd, dtype=torch.float64), GOOD, GOOD])
    reasons = refusals(points, picture=(260, 260))
    assert [reason is None for reason in reasons] == [True, False, True, True]
    check_listed_points(points, ["a", "b", "c", "d"], source=f"points of {odd}")
    assert "b: the points are not finite or all in one place" in caplog.text
