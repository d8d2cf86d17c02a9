"""The torch.export program runs by itself and gives the same numbers."""

from pathlib import Path

import pytest
import torch

import transface
from transface.backbones.face_vit import FaceViT
from transface.backbones.timm_encoder import TimmEncoder
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


@pytest.mark.parametrize(
    ("name", "settings"),
    [("resnet10t", {}), ("vit_tiny_patch16_224", {"embed_dim": 32, "depth": 1, "num_heads": 2, "patch_size": 16})],
)
def test_encoders_with_and_without_prefix_tokens_take_any_batch_size(name: str, settings: dict[str, int]) -> None:
    encoder = TimmEncoder(name, image_size=48, input_size=32, pretrained=False, model_settings=settings).eval()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(Pooled(encoder), (torch.zeros(2, 3, 48, 48),), dynamic_shapes=({0: batch},))
    assert program.module()(torch.zeros(3, 3, 48, 48)).shape == (3, encoder.token_width)


class Pooled(torch.nn.Module):
    """One vector an image of an encoder."""

    def __init__(self, encoder: TimmEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.encoder.encode(images).pooled()
        return found
