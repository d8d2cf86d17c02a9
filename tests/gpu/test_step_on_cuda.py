"""A training step on a CUDA device: the same losses as on the CPU, bf16 near them, DPAP and EHSM on the device. Skipped
without one.
"""

from typing import Any

import pytest
import torch

from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.images.pixels import draw_mirrored, mirror, normalise
from transface.margins.arcface import ArcFace
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.ehsm import EHSM

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def losses(device: str, *, autocast: bool = False) -> Any:
    """Return the per-sample losses and the gradient of the patch embedding, of one step in eval-mode batch-norm."""
    torch.manual_seed(0)
    backbone = FaceViT(112, 9, embed_dim=64, depth=2, num_heads=4, embedding_size=64).eval().to(device)
    classifier = FullSoftmax(50, 64, ArcFace(32.0)).to(device)
    images = torch.randint(0, 256, (8, 3, 112, 112), generator=torch.Generator().manual_seed(1), dtype=torch.uint8).to(
        device
    )
    labels = torch.arange(8, device=device)
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        features = backbone(normalise(images))
        values = classifier(features.embedding, labels) * EHSM()(features.tokens)
    values.mean().backward()
    return values.detach().float().cpu(), backbone.patch_embed.proj.weight.grad.float().cpu()


def test_losses_and_gradients_equal_those_of_the_cpu() -> None:
    for ours, theirs in zip(losses("cuda"), losses("cpu"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)


def test_bf16_losses_are_near_and_float32() -> None:
    torch.testing.assert_close(losses("cuda", autocast=True)[0], losses("cpu")[0], rtol=5e-2, atol=5e-1)


def test_dpap_changes_images_on_the_device() -> None:
    backbone = FaceViT(112, 9, embed_dim=64, depth=2, num_heads=4, embedding_size=64).cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    images = torch.rand(8, 3, 112, 112, device="cuda") * 2 - 1
    faces = mirror(images, draw_mirrored(images, generator, probability=0.0))
    changed = DPAP(7, 1.0)(faces, backbone, generator=generator)
    assert changed.device == images.device
    assert (changed != images).flatten(1).any(1).all()
    assert changed.abs().max() <= 1
