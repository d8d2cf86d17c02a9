"""Faces decoded and augmented on a CUDA device. Skipped without one."""

from pathlib import Path

import pytest
import torch

from transface.data.augment import augmentations
from transface.data.augment.augmentations import InTurn
from transface.data.augment.mixup import Mixup
from transface.data.loaders import decode_batch, encoded_batch
from transface.data.sources.identity_pack import IdentityPack
from transface.images.pixels import normalise
from transface.synthetic.datasets import write_identity_pack

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_faces_decoded_on_the_device_are_near_those_of_the_cpu(tmp_path: Path) -> None:
    pack = IdentityPack(write_identity_pack(tmp_path, 4, images_per_identity=8))
    batch = decode_batch(encoded_batch(pack, list(range(32))), pack, device="cuda")
    expected = pack.__getitems__(range(32))
    assert batch.images.is_cuda
    assert batch.labels.tolist() == expected.labels.tolist()
    difference = (batch.images.cpu().int() - expected.images.int()).abs().float()
    assert difference.mean() < 2  # the two decoders enlarge the colour planes differently


@pytest.mark.parametrize(
    "name", ["RandomResizedCrop", "LowResolution", "ColourJitter", "GaussianBlur", "RandomErasing", "RandAugment"]
)
def test_augmentations_stay_on_the_device(name: str) -> None:
    images = normalise(torch.randint(0, 256, (8, 3, 112, 112), dtype=torch.uint8, device="cuda"))
    generator = torch.Generator("cuda").manual_seed(0)
    changed = InTurn([getattr(augmentations, name)(probability=1.0)])(images, generator)
    assert changed.is_cuda
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)
    mixed = Mixup()(images, generator)
    assert mixed.images.is_cuda
    assert mixed.ratio.is_cuda
