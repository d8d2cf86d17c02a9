"""The rows of the comparison: what is done, as we do it and by the published design, written from its description."""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.step import mix_in_numpy
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_curve
from sklearn.model_selection import KFold
from torch import Tensor
from torch.nn import functional as F

from transface.classifiers.margin_cross_entropy import margin_cross_entropy
from transface.images.decoding import decode_images
from transface.margins.cosface import CosFace
from transface.metrics.tar_at_far import operating_points
from transface.metrics.verification import verify_pairs
from transface.systems.recognition.dpap import mix_amplitudes

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


class Row(NamedTuple):
    """One comparison.

    Attributes:
        make: returns the arguments, the same for all.
        ours: what this package does with them.
        published: the published design.
        same: whether what two of them returned is the same answer.
    """

    make: Callable[[], tuple[Any, ...]]
    ours: Callable[..., Any]
    published: Callable[..., Any]
    same: Callable[[Any, Any], bool]


def pairs() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return unit embeddings (12000, 128) of 6,000 pairs, and which are of one person."""
    rng = np.random.default_rng(0)
    same = np.tile([True, False], 3000)
    first, second = rng.normal(size=(2, 6000, 128))
    second = np.where(same[:, None], first + rng.normal(size=first.shape), second)
    rows = np.stack([first, second], 1).reshape(-1, 128)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), same


def accuracy_as_ours(embeddings: NDArray[np.float32], same: NDArray[np.bool_]) -> float:
    """Return the ten-fold accuracy from cumulated counts."""
    return verify_pairs(embeddings, same).accuracy_mean


def accuracy_as_published(embeddings: NDArray[np.float32], same: NDArray[np.bool_]) -> float:
    """Return the ten-fold accuracy as the scripts of LFW do: every fold tries every threshold on all pairs of nine."""
    distances = np.sum(np.square(embeddings[0::2] - embeddings[1::2]), 1)
    accuracies = []
    for train, test in KFold(10, shuffle=False).split(distances):
        tried = [np.mean((distances[train] < t) == same[train]) for t in np.arange(0, 4, 0.01)]
        threshold = np.arange(0, 4, 0.01)[int(np.argmax(tried))]
        accuracies.append(np.mean((distances[test] < threshold) == same[test]))
    return float(np.mean(accuracies))


def many_scores() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return 20,000 genuine and 2,000,000 impostor scores."""
    rng = np.random.default_rng(0)
    return rng.normal(0.6, 0.15, 20_000).astype(np.float32), rng.normal(0, 0.1, 2_000_000).astype(np.float32)


def tar_as_ours(genuine: NDArray[np.float32], impostor: NDArray[np.float32]) -> list[float]:
    """Return the TAR at FARS from the top of the impostors alone."""
    return [point.tar for point in operating_points(genuine, impostor, FARS, rules=["nearest"])]


def tar_as_published(genuine: NDArray[np.float32], impostor: NDArray[np.float32]) -> list[float]:
    """Return the TAR at FARS as the scripts of IJB do: a whole ROC curve, then the nearest point."""
    labels = np.r_[np.ones(len(genuine)), np.zeros(len(impostor))]
    far, tar, _ = roc_curve(labels, np.r_[genuine, impostor])
    far, tar = np.flipud(far), np.flipud(tar)
    return [float(tar[np.argmin(np.abs(far - target))]) for target in FARS]


def jpegs() -> tuple[list[bytes]]:
    """Return 64 JPEGs of 112 pixels."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(64):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((112, 112), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=95)
        encoded.append(stream.getvalue())
    return (encoded,)


def batch_as_ours(encoded: list[bytes]) -> Tensor:
    """Return a batch of bytes: it is normalised where the network is."""
    return decode_images(encoded)


def batch_as_published(encoded: list[bytes]) -> Tensor:
    """Return a batch of floats as datasets of torchvision do: PIL, a float tensor, normalised, image by image."""
    faces = []
    for data in encoded:
        with Image.open(io.BytesIO(data)) as picture:
            pixels = torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1)
        faces.append((pixels.float().div(255) - 0.5) / 0.5)
    return torch.stack(faces)


def patches() -> tuple[Tensor, Tensor, Tensor]:
    """Return 196 patches of 9 pixels, as many to mix with, and how much."""
    generator = torch.Generator().manual_seed(0)
    source, reference = torch.randint(0, 256, (2, 196, 3, 9, 9), generator=generator).float()
    return source, reference, torch.rand(196, generator=generator)


def mixed_as_ours(source: Tensor, reference: Tensor, ratio: Tensor) -> Tensor:
    """Return all patches mixed at once."""
    return mix_amplitudes(source, reference, ratio[:, None])


def mixed_as_published(source: Tensor, reference: Tensor, ratio: Tensor) -> Tensor:
    """Return the patches mixed one by one in NumPy, as the released code of TransFace does."""
    first, second = (part.permute(0, 2, 3, 1).numpy() for part in (source, reference))
    mixed = [mix_in_numpy(a, b, float(r)) for a, b, r in zip(first, second, ratio, strict=True)]
    return torch.from_numpy(np.stack(mixed)).permute(0, 3, 1, 2)


def head() -> tuple[Tensor, Tensor, Tensor]:
    """Return unit embeddings (128, 512), the centres of 50,000 classes, and labels."""
    generator = torch.Generator().manual_seed(0)
    embeddings, centers = torch.randn(128, 512, generator=generator), torch.randn(50_000, 512, generator=generator)
    labels = torch.randint(50_000, (128,), generator=generator)
    return F.normalize(embeddings).requires_grad_(), F.normalize(centers).requires_grad_(), labels


def head_as_ours(embeddings: Tensor, centers: Tensor, labels: Tensor) -> float:
    """Return CosFace's mean loss after its backward, the classes walked in chunks: no (batch x classes) buffer."""
    embeddings.grad = centers.grad = None
    loss = margin_cross_entropy(embeddings, centers, labels=labels, margin=CosFace(scale=64.0, margin=0.4)).mean()
    loss.backward()
    return float(loss.detach())


def head_as_published(embeddings: Tensor, centers: Tensor, labels: Tensor) -> float:
    """Return the same from all logits at once, the margin taken off by index."""
    embeddings.grad = centers.grad = None
    logits = embeddings @ centers.T
    margins = torch.zeros_like(logits)
    margins[torch.arange(len(labels)), labels] = 0.4
    loss = F.cross_entropy(64.0 * (logits - margins), labels)
    loss.backward()
    return float(loss.detach())


ROWS: dict[str, Row] = {
    "verification": Row(pairs, accuracy_as_ours, accuracy_as_published, lambda a, b: abs(a - b) < 1e-12),
    "tar_at_far": Row(many_scores, tar_as_ours, tar_as_published, lambda a, b: bool(np.allclose(a, b, atol=1e-12))),
    "decoding": Row(
        jpegs, batch_as_ours, batch_as_published, lambda a, b: bool((a.float() / 127.5 - 1 - b).abs().max() < 0.05)
    ),
    "mixing": Row(patches, mixed_as_ours, mixed_as_published, lambda a, b: bool((a.clamp(0, 255) - b).abs().max() < 2)),
    "head": Row(head, head_as_ours, head_as_published, lambda a, b: abs(a - b) < 1e-3 * abs(b)),
}
