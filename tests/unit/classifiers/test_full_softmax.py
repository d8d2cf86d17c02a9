"""transface.classifiers.full_softmax: its centres, and what it refuses."""

from itertools import pairwise

import pytest
import torch

from transface.classifiers.full_softmax import FullSoftmax
from transface.margins.arcface import ArcFace


def test_the_loss_falls_when_its_own_gradient_is_followed() -> None:
    classifier = FullSoftmax(20, 8, ArcFace(16.0, 0.2))
    embeddings, labels = torch.randn(10, 8), torch.arange(10)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1e-5)
    losses = []
    for _ in range(20):
        loss = classifier(embeddings, labels).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"embeddings must be \(B, 8\), got \(2, 7\)"):
        FullSoftmax(5, 8, ArcFace())(torch.zeros(2, 7), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(("setting", "value"), [("num_identities", 0), ("embedding_size", -1), ("chunk_size", 0)])
def test_a_size_that_is_not_positive_is_refused_by_name(setting: str, value: int) -> None:
    sizes = {"num_identities": 5, "embedding_size": 8, "margin": ArcFace(), setting: value}
    with pytest.raises(ValueError, match=f"{setting} must be at least 1, got {value}"):
        FullSoftmax(**sizes)
