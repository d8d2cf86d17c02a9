"""Differences between two embedders are found wherever they are."""

import pytest
import torch
from torch import Tensor

from transface.export.agreement import ExportError, compare, random_faces, require


def means(faces: Tensor) -> Tensor:
    return torch.cat([faces.mean((2, 3)), faces.std((2, 3))], dim=1)


def test_equal_embedders_agree_wholly() -> None:
    found = compare(means, means, random_faces((16, 16)))
    assert found.max_difference == 0
    assert found.min_cosine == pytest.approx(1)
    assert found.num_faces == 8


def test_a_difference_in_one_face_is_found() -> None:
    faces = random_faces((16, 16), num_faces=9)

    def off(batch: Tensor) -> Tensor:
        return means(batch) + 0.01 * (batch.flatten(1) == faces[8].flatten()).all(1, keepdim=True)

    assert compare(means, off, faces[:8]).max_difference == 0
    assert compare(means, off, faces).max_difference > 0.005


def test_a_difference_of_length_alone_is_found() -> None:
    assert compare(means, lambda faces: 2 * means(faces), random_faces((16, 16))).max_difference > 0.1


def test_a_batch_size_that_is_built_in_is_found() -> None:
    with pytest.raises(ExportError, match="expected"):
        compare(means, lambda faces: means(faces[:1]), random_faces((16, 16)))


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ExportError, match="not finite"):
        compare(means, lambda faces: means(faces) / 0 * 0, random_faces((16, 16)))


def test_the_tolerance_is_held() -> None:
    found = compare(means, lambda faces: means(faces) + 1e-3, random_faces((16, 16)))
    assert require(found, 1.0, what="a") == found
    with pytest.raises(ExportError, match=r"a differs .* tolerance 1e-05"):
        require(found, 1e-5, what="a")
