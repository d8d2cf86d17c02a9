"""Where key points come from in training: files by record, predictors and detectors by image; mirrored with the
image.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from transface.backbones.face_vit import FaceViT
from transface.backbones.parts.keypoint_positions import aligned_keypoints, mirror_keypoints
from transface.classifiers.full_softmax import FullSoftmax
from transface.data.augment.augmentations import InTurn, RandomErasing, RandomResizedCrop
from transface.data.augment.mixup import Mixup
from transface.data.batches import FaceBatch
from transface.images.detection import Faces, no_faces
from transface.images.pixels import normalise
from transface.margins.cosface import CosFace
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.keypoints import DetectedKeypoints, FileKeypoints, PredictedKeypoints
from transface.systems.recognition.module import RecognitionModule
from transface.training.optimization.optimizers import AdamW


class Listening(FaceViT):
    """A backbone that keeps what it was told."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(36, 9, embed_dim=16, depth=1, num_heads=2, embedding_size=8, **settings)
        self.told: list[tuple[Tensor, Tensor | None]] = []

    def encode(self, images: Tensor, keypoints: Tensor | None = None) -> Any:
        self.told.append((images, keypoints))
        return super().encode(images, keypoints)


def module_with(backbone: nn.Module | None = None, **parts: Any) -> RecognitionModule:
    torch.manual_seed(0)
    backbone = Listening(relative_positions="keypoints") if backbone is None else backbone
    module = RecognitionModule(backbone, FullSoftmax(5, 8, CosFace(16.0)), optimizer=partial(AdamW, lr=1e-3), **parts)
    module.log_dict = lambda *a, **k: None  # type: ignore[method-assign]
    return module


@pytest.fixture
def batch() -> FaceBatch:
    images = torch.randint(0, 256, (6, 3, 36, 36), generator=torch.Generator().manual_seed(3)).to(torch.uint8)
    return FaceBatch(images, torch.tensor([0, 1, 2, 3, 4, 0]), torch.arange(10, 16))


@pytest.fixture
def points(tmp_path: Path) -> Tensor:
    found = torch.rand(6, 5, 2, generator=torch.Generator().manual_seed(1)) * 36
    lines = [",".join(map(str, [10 + row, *found[row].flatten().tolist()])) for row in range(6) if row != 2]
    (tmp_path / "points.csv").write_text("record,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\n" + "\n".join(lines) + "\n")
    return found / 36


def test_points_of_records_are_mirrored_with_their_images(batch: FaceBatch, points: Tensor, tmp_path: Path) -> None:
    source = FileKeypoints(tmp_path / "points.csv", image_size=36)
    module = module_with(keypoints=source, perturbation=DPAP(num_patches=2, probability=1.0, scoring_precision=None))
    module.losses(batch, torch.Generator().manual_seed(7))
    images = normalise(batch.images)
    expected = points.clone()
    expected[2] = aligned_keypoints((36, 36))
    assert len(module.backbone.told) == 2, "scored by DPAP, then embedded"
    turned = 0
    for seen, told in module.backbone.told[:1]:  # what is embedded is perturbed
        for row in range(6):
            flipped = torch.equal(seen[row], images[row].flip(-1))
            turned += flipped
            torch.testing.assert_close(told[row], mirror_keypoints(expected[row]) if flipped else expected[row])
    assert 0 < turned < 6
    torch.testing.assert_close(module.backbone.told[1][1], module.backbone.told[0][1])
    assert source.num_missing == 1


def test_a_predictor_sees_the_images_in_training_and_in_validation(batch: FaceBatch) -> None:
    predictor = nn.Sequential(nn.Flatten(), nn.Linear(3 * 36 * 36, 10), nn.Unflatten(1, (5, 2)))
    module = module_with(keypoints=PredictedKeypoints(predictor))
    assert not any(parameter.requires_grad for parameter in predictor.parameters())
    module.backbone.keypoint_positions.linear.weight.data.normal_()
    module.losses(batch, torch.Generator().manual_seed(7)).total().backward()
    images = normalise(batch.images)
    module.eval()
    torch.testing.assert_close(module(images), module.backbone(images, predictor(images)).embedding)
    assert len(list(module.parameters())) == len(list(module_with().parameters())), "not a part of the run"


class OneFace:
    """Finds a face at the same place in every picture that is not black."""

    name = "one"

    def detect(self, images: Any) -> list[Faces]:
        box, points = np.float32([[0, 0, 50, 50]]), np.arange(10, dtype=np.float32).reshape(1, 5, 2)
        return [Faces(box, points, np.float32([1.0]), None) if image.any() else no_faces() for image in images]


def test_a_detector_gives_fractions_and_the_template_where_it_finds_none() -> None:
    source = DetectedKeypoints(OneFace())
    images = torch.zeros(2, 3, 50, 100)
    images[1] = -1
    found = source(images)
    expected = torch.arange(10.0).reshape(5, 2) / torch.tensor([100.0, 50.0])
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(found[1], aligned_keypoints((50, 100)))
    assert source.num_missing == 1


def test_sources_that_cannot_be_right_are_refused(points: Tensor, tmp_path: Path) -> None:
    source = FileKeypoints(tmp_path / "points.csv", image_size=36)
    with pytest.raises(ValueError, match="relative_positions"):
        module_with(Listening(), keypoints=source)
    with pytest.raises(ValueError, match="keypoints=template"):
        module_with(nn.Identity(), keypoints=source)
    with pytest.raises(ValueError, match="do not move with RandomResizedCrop"):
        module_with(keypoints=source, augmentation=InTurn([RandomErasing(), RandomResizedCrop()]))
    with pytest.raises(ValueError, match="mixed faces"):
        module_with(keypoints=source, mixup=Mixup())
    module_with(keypoints=source, augmentation=RandomErasing())


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FileKeypoints(tmp_path / "nowhere.csv")
    numbers = ",".join("1" * 10)
    (tmp_path / "names.csv").write_text(f"a.jpg,{numbers}\n")
    with pytest.raises(ValueError, match=r"position of a record.*'a.jpg'"):
        FileKeypoints(tmp_path / "names.csv")
    (tmp_path / "twice.csv").write_text(f"1,{numbers}\n1,{numbers}\n")
    with pytest.raises(ValueError, match="record 1 has two lines"):
        FileKeypoints(tmp_path / "twice.csv")
