"""Two students as one: their embeddings, each of length 1, in one vector; a support vector machine or a small network
reads the answer.

Georgescu & Ionescu, arXiv 2008.01003: the concatenated distilled embeddings. Everything is fitted on cached embeddings;
the strength of regularisation is chosen on the validation images. Shapes: n images, E embedding size, C classes, D =
sum of the E of all students.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn
from torch.nn import functional as F

from transface.images.pixels import normalise

Floats = NDArray[np.float32]
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of the support vector machine
RIDGES = (1e1, 1e2, 1e3, 1e4)


class ReadableImages(Protocol):
    """M images that are read a batch at a time."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return (B, 3, H, W) uint8."""
        ...


class Split(NamedTuple):
    """Embeddings (n, D) of some images and their labels (n,): classes, or numbers."""

    embeddings: Floats
    labels: NDArray[Any]


@torch.no_grad()
def embeddings_of(network: nn.Module, images: ReadableImages, *, batch_size: int = 256) -> Floats:
    """Return the embeddings (n, E) of images, each of length 1, by a network in eval mode."""
    model: Any = network.eval()
    device = next(network.parameters()).device
    found = []
    for start in range(0, len(images), batch_size):
        batch = images.read(range(start, min(start + batch_size, len(images))), tuple(model.image_size))
        found.append(F.normalize(model(normalise(batch.to(device))).embedding, dim=1).cpu())
    whole: Floats = torch.cat(found).numpy()
    return whole


def joined(parts: Sequence[Floats]) -> Floats:
    """Return (n, D) the embeddings of several students side by side.

    Raises:
        ValueError: if they are not of the same images.
    """
    if len({len(part) for part in parts}) != 1:
        raise ValueError(f"students must have embedded the same images, got {[len(part) for part in parts]}")
    return np.concatenate(parts, 1)


def fit_classes(train: Split, val: Split, test: Floats, *, strengths: Sequence[float] = STRENGTHS) -> NDArray[np.int64]:
    """Return the classes (n,) of test embeddings by a linear SVM, one against the rest, on standardised embeddings."""
    machines = []
    for strength in strengths:
        machine = make_pipeline(StandardScaler(), LinearSVC(C=strength, dual="auto", max_iter=5000, random_state=0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(train.embeddings, train.labels)
        machines.append((float((machine.predict(val.embeddings) == val.labels).mean()), machine))
    best = max(machines, key=lambda pair: pair[0])[1]
    return np.asarray(best.predict(test), dtype=np.int64)


def fit_numbers(train: Split, val: Split, test: Floats, *, ridges: Sequence[float] = RIDGES) -> NDArray[np.float64]:
    """Return the numbers (n,) of test embeddings by ridge regression on standardised embeddings."""
    lines = []
    for ridge in ridges:
        line = make_pipeline(StandardScaler(), Ridge(alpha=ridge)).fit(train.embeddings, train.labels)
        lines.append((float(np.abs(line.predict(val.embeddings) - val.labels).mean()), line))
    best = min(lines, key=lambda pair: pair[0])[1]
    return np.asarray(best.predict(test), dtype=np.float64)


def fit_network(
    train: Split,
    val: Split,
    test: Floats,
    *,
    num_classes: int | None,
    width: int = 512,
    dropout: float = 0.5,
    max_epochs: int = 40,
    patience: int = 5,
    batch_size: int = 256,
    seed: int = 0,
) -> NDArray[Any]:
    """Return the answers (n,) of Linear - ReLU - Dropout - Linear, stopped when the validation images get no better.

    Args:
        num_classes: C; None: the labels are numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.from_numpy(train.embeddings).float(), torch.from_numpy(np.asarray(train.labels))
    middle, scale = (0.0, 1.0) if num_classes else (float(y.float().mean()), float(y.float().std().clamp_min(1e-6)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(x.shape[1], width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, num_classes or 1)
        )
        # The embeddings have length 1: times the root of their size each entry is about 1.
        factor = x.shape[1] ** 0.5
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        best, best_state, waited = float("inf"), {k: v.clone() for k, v in network.state_dict().items()}, 0
        for _ in range(max_epochs):
            network.train()
            for rows in torch.randperm(len(x), generator=generator).split(batch_size):
                answers = network(x[rows] * factor)
                loss = (
                    F.cross_entropy(answers, y[rows])
                    if num_classes
                    else F.smooth_l1_loss(answers[:, 0], (y[rows].float() - middle) / scale)
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            wrong = _error(
                _answered(network, val.embeddings * factor, num_classes, middle, scale), val.labels, num_classes
            )
            if wrong < best:
                best, best_state, waited = wrong, {k: v.clone() for k, v in network.state_dict().items()}, 0
            elif (waited := waited + 1) >= patience:
                break
        network.load_state_dict(best_state)
        return _answered(network, test * factor, num_classes, middle, scale)


@torch.no_grad()
def _answered(
    network: nn.Module, embeddings: Floats, num_classes: int | None, middle: float, scale: float
) -> NDArray[Any]:
    answers = network.eval()(torch.from_numpy(np.asarray(embeddings, dtype=np.float32)))
    return (answers.argmax(1) if num_classes else middle + scale * answers[:, 0]).numpy()


def _error(answers: NDArray[Any], labels: NDArray[Any], num_classes: int | None) -> float:
    return float((answers != labels).mean()) if num_classes else float(np.abs(answers - labels).mean())
