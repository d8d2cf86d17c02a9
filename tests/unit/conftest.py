"""Small made-up images, packs and a small model for the tests of several rooms."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import encode_jpeg, encode_png

from transface.backbones.face_vit import FaceViT
from transface.data.recordio.reader import RecordHeader, RecordWriter
from transface.inference.face_model import FaceModel


def picture(seed: int, *, side: int = 112) -> torch.Tensor:
    """A smooth colour picture (3, side, side), uint8, other for each seed."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic", align_corners=False)
    return (smooth.clamp(0, 1)[0] * 255).to(torch.uint8)


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., torch.Tensor]:
    return picture


@pytest.fixture(scope="session")
def make_jpeg() -> Callable[..., bytes]:
    def make(seed: int, *, side: int = 112, quality: int = 90) -> bytes:
        return encode_jpeg(picture(seed, side=side), quality=quality).numpy().tobytes()

    return make


@pytest.fixture(scope="session")
def make_png() -> Callable[..., bytes]:
    def make(seed: int, *, side: int = 112) -> bytes:
        return encode_png(picture(seed, side=side)).numpy().tobytes()

    return make


@pytest.fixture(scope="session")
def make_pack(make_jpeg: Callable[..., bytes]) -> Callable[..., Path]:
    """Writes an InsightFace pack as mxnet would: header record, images, identity records, property."""

    def make(folder: Path, labels: list[int], *, payloads: dict[int, bytes] | None = None, header: bool = True) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        count, people = len(labels), max(labels) + 1
        with RecordWriter(folder / "train.rec", folder / "train.idx") as writer:
            if header:
                writer.write(0, RecordHeader(2, np.array([count + 1, count + 1 + people], dtype=np.float32)), b"")
            for index, label in enumerate(labels):
                payload = (payloads or {}).get(index, make_jpeg(index))
                writer.write(index + header, RecordHeader(0, float(label), index + header), payload)
            for person in range(people if header else 0):
                keys = [index + 1 for index, label in enumerate(labels) if label == person]
                limits = np.array([min(keys, default=0), max(keys, default=0) + 1], dtype=np.float32)
                writer.write(count + 1 + person, RecordHeader(2, limits, count + 1 + person), b"")
        (folder / "property").write_text(f"{people},112,112\n")
        return folder

    return make


@pytest.fixture(scope="session")
def small_model() -> FaceModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        backbone = FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    with torch.no_grad():
        backbone.train()(torch.rand(8, 3, 112, 112, generator=torch.Generator().manual_seed(4)) * 2 - 1)
    return FaceModel(backbone, provenance={"source": "made up"})
