"""Answers that are none are refused by name, in every place that runs a network."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from transface.backbones.features import FACE_OUTPUTS, FaceFeatures
from transface.backbones.parts.sound_answers import check_answers, check_told_apart
from transface.evaluation.embedding.embedder import Embedder
from transface.inference.face_model import FaceModel


class Broken(nn.Module):
    """A backbone that answers in one way, whatever it sees."""

    outputs = FACE_OUTPUTS
    image_size, embedding_size, patch_size, grid_size = (112, 112), 4, 0, (0, 0)

    def __init__(self, row: list[float]) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.tensor(row))

    def forward(self, images: Tensor) -> FaceFeatures:
        return FaceFeatures(self.row.expand(len(images), -1))


class Faces:
    """Two different pictures."""

    name = "two pictures"

    def __len__(self) -> int:
        return 2

    def read(self, indices: Any, size: tuple[int, int]) -> Tensor:
        return torch.stack([torch.full((3, *size), 100 * index, dtype=torch.uint8) for index in indices])

    def fingerprint(self) -> str:
        return "two"


ROWS = {
    "NaN": ([float("nan"), 1, 1, 1], "NaN or infinite"),
    "infinite": ([float("inf"), 1, 1, 1], "NaN or infinite"),
    "zero": ([0.0, 0, 0, 0], "zero|one embedding"),
    "one for all": ([1.0, 2, 3, 4], "one embedding for 2 different images"),
}


@pytest.mark.parametrize("kind", list(ROWS))
@pytest.mark.parametrize("where", ["embed", "predict", "evaluate", "run"])
def test_a_network_that_answers_nonsense_is_refused_wherever_it_runs(kind: str, where: str) -> None:
    row, words = ROWS[kind]
    pictures = [np.zeros((112, 112, 3), np.uint8), np.full((112, 112, 3), 90, np.uint8)]
    runs = {
        "embed": lambda: FaceModel(Broken(row)).embed(pictures),
        "predict": lambda: FaceModel(Broken(row)).predict(pictures),
        "evaluate": lambda: Embedder(Broken(row), progress=False).embed(Faces()).unit(),
        "run": lambda: Embedder(Broken(row), progress=False).run(Faces(), ["embedding"]),
    }
    with pytest.raises(ValueError, match=words):
        runs[where]()


def test_one_picture_given_twice_may_have_one_embedding() -> None:
    found = FaceModel(Broken([1.0, 2, 3, 4])).embed(np.zeros((3, 112, 112, 3), np.uint8))
    assert found.shape == (3, 4)


def test_a_validation_may_see_a_network_that_does_not_know_faces_apart_yet() -> None:
    Embedder(Broken([1.0, 2, 3, 4]), progress=False, in_training=True).embed(Faces())


def test_the_first_image_with_a_broken_answer_is_named() -> None:
    rows = torch.ones(5, 3)
    rows[3, 1] = float("nan")
    with pytest.raises(ValueError, match=r"1 of 5 answers \(x\) are .* the first is image 13 of a folder"):
        check_answers("x", rows, of="a folder", first=10)
    assert check_answers("x", torch.zeros(0, 3), of="a folder").shape == (0, 3)
    check_answers("x", torch.zeros(2, 3), of="a folder")  # zeros are answers, of anything but embeddings


def test_vectors_of_any_length_that_point_one_way_are_one_embedding() -> None:
    faces = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    with pytest.raises(ValueError, match="one embedding"):
        check_told_apart(faces, torch.tensor([[1.0, 2.0], [3.0, 6.0]]), of="it")
    check_told_apart(faces, torch.tensor([[1.0, 2.0], [2.0, 1.0]]), of="it")
    check_told_apart(faces[:1], torch.ones(1, 2), of="it")
