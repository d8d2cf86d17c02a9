"""The chunked margin cross-entropy against F.cross_entropy of the whole logit matrix, in float64, and what memory and
types it keeps to.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.margin_cross_entropy import margin_cross_entropy
from transface.classifiers.partial_fc import PartialFC
from transface.margins.adaface import AdaFace
from transface.margins.arcface import ArcFace
from transface.margins.combined import CombinedMargin
from transface.margins.cosface import CosFace
from transface.margins.curricularface import CurricularFace
from transface.margins.magface import MagFace

B, C, E = 14, 37, 8
MARGINS = {
    "arcface": lambda: ArcFace(filter_threshold=0.4),
    "cosface": CosFace,
    "combined": lambda: CombinedMargin(m1=1.2),
    "adaface": lambda: AdaFace(momentum=0.5),
    "magface": lambda: MagFace(lowest_norm=0.5, highest_norm=3.0),
    "curricularface": lambda: CurricularFace(momentum=0.5),
}


def faces(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    embeddings = torch.randn(B, E, generator=generator, dtype=dtype).requires_grad_()
    centers = (0.01 * torch.randn(C, E, generator=generator, dtype=dtype)).requires_grad_()
    return (
        embeddings,
        centers,
        torch.randint(C, (B,), generator=generator),
        torch.rand(B, generator=generator, dtype=dtype),
    )


def plain(embeddings: Tensor, centers: Tensor, labels: Tensor, margin: nn.Module) -> Tensor:
    norms = embeddings.norm(dim=1)
    losses = F.cross_entropy(
        margin(F.normalize(embeddings) @ F.normalize(centers).T, labels, norms), labels, reduction="none"
    )
    return losses + margin.regulariser(norms) if isinstance(margin, MagFace) else losses


@pytest.mark.parametrize("chunk_size", [1, 5, 37, 1000, None])
@pytest.mark.parametrize("name", sorted(MARGINS))
def test_losses_and_weighted_gradients_are_those_of_the_whole_matrix(name: str, chunk_size: int | None) -> None:
    embeddings, centers, labels, weights = faces()
    expected = plain(embeddings, centers, labels, MARGINS[name]().double())
    expected_gradients = torch.autograd.grad((expected * weights).sum(), (embeddings, centers))
    losses = margin_cross_entropy(
        embeddings, centers, labels=labels, margin=MARGINS[name]().double(), chunk_size=chunk_size
    )
    gradients = torch.autograd.grad((losses * weights).sum(), (embeddings, centers))
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_half_embeddings_under_autocast_are_added_up_in_float32() -> None:
    embeddings, centers, labels, _ = faces(torch.float32)
    half = embeddings.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = margin_cross_entropy(half, centers, labels=labels, margin=ArcFace(), chunk_size=8)
        losses.sum().backward()
    expected = plain(half.detach().float().requires_grad_(), centers, labels, ArcFace())
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(expected.sum(), centers)
    torch.testing.assert_close(centers.grad, gradient, rtol=1e-4, atol=1e-2)
    assert half.grad.dtype == torch.bfloat16


def test_statistics_that_move_between_forward_and_backward_do_not_change_the_gradient() -> None:
    embeddings, centers, labels, _ = faces()
    margin = CurricularFace(momentum=0.5).double()
    losses = margin_cross_entropy(embeddings, centers, labels=labels, margin=margin)
    expected = torch.autograd.grad(losses.sum(), centers, retain_graph=True)[0]
    margin.stage.fill_(5.0)
    assert torch.equal(torch.autograd.grad(losses.sum(), centers)[0], expected)


def test_the_released_ceiling_bounds_the_value_and_not_the_gradient() -> None:
    embeddings, centers, labels, _ = faces()
    released, exact = (CosFace(200.0, gradient=word) for word in ("straight_through", "exact"))
    capped = margin_cross_entropy(embeddings, centers, labels=labels, margin=released)
    free = margin_cross_entropy(embeddings, centers, labels=labels, margin=exact)
    assert (free > 69.1).any()
    torch.testing.assert_close(capped, free.clamp(max=69.07755278982137))
    torch.testing.assert_close(*(torch.autograd.grad(losses.sum(), embeddings)[0] for losses in (capped, free)))


def test_one_class_alone_has_no_loss_and_no_gradient() -> None:
    embeddings, centers, _, _ = faces()
    losses = margin_cross_entropy(embeddings, centers[:1], labels=torch.zeros(B, dtype=torch.int64), margin=CosFace())
    assert torch.equal(losses, torch.zeros(B, dtype=torch.float64))
    assert torch.equal(torch.autograd.grad(losses.sum(), embeddings)[0], torch.zeros(B, E, dtype=torch.float64))


def test_a_tiny_loss_keeps_its_digits_in_float32() -> None:
    centers = torch.eye(3)
    losses = margin_cross_entropy(torch.eye(3)[:1] * 3, centers, labels=torch.tensor([0]), margin=CosFace(30.0, 0.0))
    expected = torch.log1p(2 * torch.exp(torch.tensor(-30.0, dtype=torch.float64)))
    assert losses.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    "change", [lambda y: y[:1], lambda y: y[:-1], lambda y: y[:, None], lambda y: y.float(), lambda y: y > 3]
)
@pytest.mark.parametrize("kind", [FullSoftmax, PartialFC])
def test_labels_that_are_not_one_number_a_face_are_refused(kind: Any, change: Callable[[Tensor], Tensor]) -> None:
    """A single label was spread over all faces, and masked in the first one's sum alone."""
    embeddings, centers, labels, _ = faces()
    with pytest.raises(ValueError, match=rf"labels must be \({len(labels)},\) int64, one for each embedding"):
        kind(len(centers), embeddings.shape[1], ArcFace())(embeddings, change(labels))


@pytest.mark.parametrize("label", [-1, C])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    embeddings, centers, labels, _ = faces()
    labels[3] = label
    with pytest.raises(ValueError, match=rf"labels must be in 0..36 .*got {label}"):
        margin_cross_entropy(embeddings, centers, labels=labels, margin=ArcFace())


def test_no_tensor_of_batch_times_classes_is_ever_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for item in out if isinstance(out, tuple | list) else (out,):
                largest = max(largest, item.numel() if isinstance(item, Tensor) else 0)
            return out

    embeddings, labels = torch.randn(64, 4, requires_grad=True), torch.randint(3000, (64,))
    centers = torch.randn(3000, 4, requires_grad=True)
    with Watch():
        margin_cross_entropy(embeddings, centers, labels=labels, margin=ArcFace(), chunk_size=100).sum().backward()
    assert largest == centers.numel() < 64 * 3000
