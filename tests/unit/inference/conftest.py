"""A small model, and a folder of made-up pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transface.backbones.face_vit import FaceViT
from transface.inference.face_model import FaceModel


@pytest.fixture(scope="session")
def small_model() -> FaceModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        backbone = FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    with torch.no_grad():
        backbone.train()(torch.rand(8, 3, 112, 112, generator=torch.Generator().manual_seed(4)) * 2 - 1)
    return FaceModel(backbone, provenance={"source": "made up"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(6)
    root = tmp_path / "faces"
    for index in range(11):
        path = root / f"person {index % 3}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(path)
    (root / "notes.txt").write_text("no picture")
    return root
