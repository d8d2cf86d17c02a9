"""Networks and images for the tests of evaluation: small, deterministic, made on the spot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.io import encode_jpeg, encode_png

from transface.backbones.features import FaceFeatures
from transface.data.benchmarks.pairs import write_pair_set


class PooledPixels(nn.Module):
    """A backbone that sees colours in a 7 x 7 grid; dropout tells whether it was run in eval mode."""

    patch_size, grid_size = 0, (0, 0)

    def __init__(self, image_size: tuple[int, int] = (112, 112), embedding_size: int = 32) -> None:
        super().__init__()
        self.image_size, self.embedding_size = image_size, embedding_size
        self.linear = nn.Linear(147, embedding_size, bias=False)
        nn.init.normal_(self.linear.weight, generator=torch.Generator().manual_seed(0))
        self.drop = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5).eval()
        self.num_images = 0
        self.batch_sizes: list[int] = []

    def forward(self, images: Tensor) -> FaceFeatures:
        self.num_images += len(images)
        self.batch_sizes.append(len(images))
        pooled = nn.functional.adaptive_avg_pool2d(images, 7).flatten(1)
        return FaceFeatures(self.frozen(self.drop(self.linear(pooled))))

    def patch_importance(self, images: Tensor) -> Tensor | None:
        return None


def noisy_faces(num_people: int, images_per_person: int, seed: int = 0) -> Tensor:
    """(people, images, 3, 112, 112) uint8: a coarse colour pattern a person, noise an image."""
    random = torch.Generator().manual_seed(seed)
    people = torch.rand(num_people, 1, 3, 7, 7, generator=random).repeat_interleave(16, -1).repeat_interleave(16, -2)
    noise = (
        torch.randn(num_people, images_per_person, 3, 7, 7, generator=random)
        .repeat_interleave(16, -1)
        .repeat_interleave(16, -2)
    )
    return ((people + 0.25 * noise).clamp(0, 1) * 255).to(torch.uint8)


@pytest.fixture
def backbone() -> PooledPixels:
    return PooledPixels()


@pytest.fixture
def faces() -> Callable[..., Tensor]:
    return noisy_faces


@pytest.fixture
def pair_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a pair set of made-up people: 60 pairs in ten folds unless told otherwise."""

    def write(name: str = "made", num_pairs: int = 60, **changes: Any) -> Path:
        people = noisy_faces(num_pairs, 3)
        same = np.arange(num_pairs) % 2 == 0
        second = [people[i, 1] if s else people[(i + 1) % num_pairs, 2] for i, s in enumerate(same)]
        images = [image for i in range(num_pairs) for image in (people[i, 0], second[i])]
        encoded = [
            (encode_png if i % 5 == 0 else encode_jpeg)(image).numpy().tobytes() for i, image in enumerate(images)
        ]
        path = tmp_path / f"{name}.bin"
        write_pair_set(path, changes.get("images", encoded), changes.get("is_same", same))
        return path

    return write
