"""The torch.export program runs by itself and gives the same numbers."""

from pathlib import Path

import pytest
import torch

import transface
from transface.backbones.face_vit import FaceViT
from transface.export.agreement import random_faces
from transface.export.to_torch_export import export_program


def test_a_program_read_again_gives_the_same_at_any_batch_size(backbone: FaceViT, tmp_path: Path) -> None:
    path = tmp_path / "face.pt2"
    assert export_program(backbone, path).max_difference <= 1e-4
    program = torch.export.load(path).module()
    for batch_size in (1, 3):
        faces = random_faces((112, 112), num_faces=batch_size, seed=4)
        with torch.no_grad():
            torch.testing.assert_close(program(faces), backbone(faces).embedding)
    assert [file.name for file in tmp_path.iterdir()] == ["face.pt2"]
    with pytest.raises(ValueError, match=r"torch\.export\.load"):
        transface.load(path)


def test_another_ending_is_refused(backbone: FaceViT, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"end in \.pt2"):
        export_program(backbone, tmp_path / "face.pt")
