"""The picture shows the K most important patches of each face and what DPAP made of them."""

import pytest
import torch
from torch import nn

from transface.backbones.features import FaceFeatures
from transface.systems.recognition.dpap import dominant_patches
from transface.systems.recognition.patch_picture import (
    as_pixels,
    dominant_patches_picture,
    outer_sides,
    perturbed_faces,
)


class LeftIsImportant(nn.Module):
    """A backbone that ranks patches from left to right."""

    embedding_size, image_size, patch_size, grid_size = 4, (112, 112), 9, (12, 12)

    def patch_importance(self, images: torch.Tensor) -> torch.Tensor:
        columns = torch.arange(144) % 12
        return (-columns.float()).expand(len(images), -1)

    def forward(self, images: torch.Tensor) -> FaceFeatures:
        return FaceFeatures(images.mean((2, 3)))


def faces(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_row_a_face_and_two_columns_for_each_k() -> None:
    images = faces(2)
    figure = dominant_patches_picture(
        images, torch.rand(2, 144), {7: images, 15: images.float() / 127.5 - 1}, (12, 12), 9
    )
    assert len(figure.axes) == 2 * 6
    titles = [ax.get_title() for ax in figure.axes[:6]]
    assert titles == ["original", "importance", "7 dominant", "perturbed, K = 7", "15 dominant", "perturbed, K = 15"]


@pytest.mark.parametrize("count", [1, 7, 15])
def test_the_outline_encloses_the_chosen_patches(count: int) -> None:
    importance = torch.rand(1, 144, generator=torch.Generator().manual_seed(count))
    figure = dominant_patches_picture(faces(1), importance, {count: faces(1)}, (12, 12), 9)
    segments = figure.axes[2].collections[-1].get_segments()
    chosen = set(dominant_patches(importance, count)[0].tolist())
    # Walking a row from the left, one is inside exactly after an odd number of upright sides.
    for row in range(12):
        for column in range(12):
            crossed = sum(
                1
                for (x0, y0), (x1, y1) in segments
                if x0 == x1 <= column * 9 + 4.5 and min(y0, y1) < row * 9 + 4.5 < max(y0, y1)
            )
            assert (crossed % 2 == 1) == (row * 12 + column in chosen)


def test_a_patch_at_the_edge_is_closed_on_all_sides() -> None:
    assert len(outer_sides({0}, 3)) == 4
    assert len(outer_sides({2}, 3)) == 4
    assert len(outer_sides({0, 1}, 3)) == 6
    assert len(outer_sides({2, 3}, 3)) == 8  # end of one row, start of the next: no neighbours


def test_perturbed_faces_differ_in_the_chosen_patches_alone() -> None:
    images = faces()
    importance, perturbed = perturbed_faces(LeftIsImportant(), images, num_patches=(7, 15, 999), seed=1)
    assert sorted(perturbed) == [7, 15]
    for k, changed in perturbed.items():
        pixels = torch.from_numpy(as_pixels(changed)).permute(0, 3, 1, 2)
        for face in range(len(images)):
            chosen = set(dominant_patches(importance, k)[face].tolist())
            for cell in range(144):
                y, x = 9 * (cell // 12), 9 * (cell % 12)
                same = torch.equal(pixels[face, :, y : y + 9, x : x + 9], images[face, :, y : y + 9, x : x + 9])
                assert same == (cell not in chosen)


def test_pixels_survive_the_way_to_floats_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8).expand(1, 3, 2, 256)
    assert torch.equal(torch.from_numpy(as_pixels(every.float() / 127.5 - 1)).permute(0, 3, 1, 2), every)


@pytest.mark.parametrize(
    ("images", "importance", "perturbed", "said"),
    [
        (faces(2).float(), torch.rand(2, 144), {}, "uint8"),
        (faces(0), torch.rand(0, 144), {}, "B > 0"),
        (faces(2), torch.rand(2, 100), {}, r"\(2, 144\)"),
        (faces(2), torch.rand(2, 144), {7: faces(1)}, r"perturbed\[7\]"),
    ],
)
def test_parts_that_do_not_fit_are_refused(images, importance, perturbed, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dominant_patches_picture(images, importance, perturbed, (12, 12), 9)
