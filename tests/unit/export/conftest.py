"""A small backbone whose batch norms have moved, and its ONNX file, made once."""

from pathlib import Path

import pytest
import torch

from transface.backbones.face_vit import FaceViT
from transface.export.agreement import random_faces
from transface.export.to_onnx import export_onnx


@pytest.fixture(scope="session")
def backbone() -> FaceViT:
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = FaceViT(embed_dim=32, depth=2, num_heads=4, embedding_size=16)
    with torch.no_grad():
        for _ in range(20):
            network(torch.rand(8, 3, 112, 112, generator=generator) * 2 - 1)
    return network.eval()


@pytest.fixture(scope="session")
def onnx_file(backbone: FaceViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "face.onnx"
    export_onnx(backbone, path, faces=random_faces((112, 112), num_faces=4, seed=9), metadata={"source": "made up"})
    return path
