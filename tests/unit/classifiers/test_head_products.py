"""The head's products in bfloat16: near the float32 head, summed in float32, off by default on the CPU."""

import pytest
import torch
from torch import Tensor, nn

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.head_products import factor, precision_on, product
from transface.classifiers.partial_fc import PartialFC
from transface.margins.arcface import ArcFace
from transface.margins.cosface import CosFace
from transface.margins.uniface import UniFace

MARGINS = {"arcface": ArcFace, "cosface": CosFace, "uniface": lambda: UniFace(500)}


def trained_faces(count: int = 48, classes: int = 500, size: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings near their centres, as in the middle of training."""
    generator = torch.Generator().manual_seed(5)
    centers = torch.randn(classes, size, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    noise = torch.randn(count, size, generator=generator)
    return (centers[labels] + noise * torch.linspace(0.3, 3, count)[:, None]), centers, labels


def run(kind: type, margin: nn.Module, precision: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    embeddings, centers, labels = trained_faces()
    head = kind(len(centers), centers.shape[1], margin, matmul_precision=precision, chunk_size=96).to(dtype)
    head.centers = nn.Parameter(centers.to(dtype))
    embeddings = embeddings.to(dtype).requires_grad_()
    losses = head(embeddings, labels)
    losses.mean().backward()
    return losses.detach(), embeddings.grad, head.centers.grad


@pytest.mark.parametrize("kind", [FullSoftmax, PartialFC])
@pytest.mark.parametrize("name", sorted(MARGINS))
def test_loss_and_gradients_of_bf16_are_within_a_hundredth_of_float64(kind: type, name: str) -> None:
    exact = run(kind, MARGINS[name](), "float32", torch.float64)
    single = run(kind, MARGINS[name](), "float32", torch.float32)
    rounded = run(kind, MARGINS[name](), "bf16", torch.float32)
    for one, two, three in zip(exact, single, rounded, strict=True):
        assert (two - one).norm() <= 1e-5 * one.norm()
        assert (three - one).norm() <= 1e-2 * one.norm()
        assert three.dtype == torch.float32
        assert not torch.equal(two, three), "rounded, or nothing was tried"


def test_auto_and_tf32_are_float32_to_the_bit_on_the_cpu() -> None:
    expected = run(FullSoftmax, CosFace(), "float32", torch.float32)
    for precision in ("auto", "tf32"):
        for one, two in zip(run(FullSoftmax, CosFace(), precision, torch.float32), expected, strict=True):
            assert torch.equal(one, two)
    assert precision_on(torch.device("cpu"), "auto") == "float32"


def test_a_product_of_rounded_factors_is_summed_exactly_enough() -> None:
    a, b = torch.randn(3, 4096), torch.randn(4096, 2)
    found = product(factor(a, "bf16"), factor(b, "bf16"))
    exact = a.bfloat16().double() @ b.bfloat16().double()
    assert (found - exact).abs().max() < 1e-5 * 64
    assert torch.equal(product(factor(a.double(), "bf16"), factor(b.double(), "bf16")), a.double() @ b.double())


def test_an_unknown_precision_is_named() -> None:
    for kind in (FullSoftmax, PartialFC):
        with pytest.raises(ValueError, match="matmul_precision must be one of auto, float32, tf32, bf16, got 'fp16'"):
            kind(5, 8, CosFace(), matmul_precision="fp16")
