"""The network of zones learns: sixty-four drawn faces by heart, and deeper zones know more than shallow ones."""

import pytest
import torch
from torch import Tensor

from transface.systems.attributes.attribute_network import AttributeNetwork
from transface.systems.attributes.class_token_distillation import SelfDistillation
from transface.systems.attributes.multi_zone_encoder import MultiZoneEncoder

SIDE, NUM_FACES, NUM_BITS = 32, 64, 40


def drawn_faces(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return ellipses (N, 3, S, S) in [-1, 1] on which forty spots are bright or dark, and these bits (N, 40)."""
    bits = torch.rand(NUM_FACES, NUM_BITS, generator=generator) < 0.5
    line = torch.linspace(-1, 1, SIDE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    face = ((x / 0.9).square() + (y / 0.98).square() < 1).float() - 0.5
    images = face.expand(NUM_FACES, 3, -1, -1).clone()
    for bit in range(NUM_BITS):
        row, column = divmod(bit, 8)
        centre = (row - 2) / 3.2, (column - 3.5) / 5.5
        spot = torch.exp(-((y - centre[0]).square() + (x - centre[1]).square()) / 0.006)
        images[:, bit % 3] += spot * (bits[:, bit, None, None].float() * 2 - 1)
    return images.clamp(-1, 1), bits.to(torch.uint8)


@pytest.mark.slow
def test_sixty_four_faces_are_learned_by_heart_and_deeper_zones_know_more() -> None:
    torch.manual_seed(0)
    images, bits = drawn_faces(torch.Generator().manual_seed(0))
    settings = {"embed_dim": 64, "depth": 4, "num_heads": 4, "patch_size": 8}
    encoder = MultiZoneEncoder(
        "vit_tiny_patch16_224", zones=4, image_size=SIDE, input_size=SIDE, model_settings=settings
    )
    network = AttributeNetwork(encoder, [f"bit_{bit}" for bit in range(NUM_BITS)])
    distillation = SelfDistillation(encoder.width)
    labels = type("Labels", (), {"values": bits, "known": torch.ones_like(bits, dtype=torch.bool)})()
    optimizer = torch.optim.AdamW([*network.parameters(), *distillation.parameters()], lr=3e-3)
    for step in range(190):
        terms, weights = distillation(network.zones(images), labels, progress=step / 190)
        loss = torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    with torch.no_grad():
        right = ((network.zones(images).logits > 0) == bits.bool()[:, None]).float().mean((0, 2))
    assert float(right[-1]) > 0.95
    assert float(right[2:].mean()) >= float(right[:2].mean()) - 1e-3, right.tolist()
