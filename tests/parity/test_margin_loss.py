"""Margin losses and gradients against numbers recorded from the released TransFace code (straight-through, weight
detached).
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from transface.classifiers.full_softmax import FullSoftmax
from transface.margins.combined import CombinedMargin


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("chunk_size", [None, 7, 57])
def test_loss_and_gradients_are_the_released_ones(shared: Path, chunk_size: int | None) -> None:
    archive = dict(np.load(shared / "parity/transface/margin_loss.npz"))
    names = [key.removesuffix("/loss") for key in archive if key.endswith("/loss")]
    assert names
    for name in names:
        assert_loss_and_gradients_are(archive, name, chunk_size)


def assert_loss_and_gradients_are(archive: dict[str, np.ndarray], name: str, chunk_size: int | None) -> None:
    recorded = {key.split("/")[1]: value for key, value in archive.items() if key.startswith(name + "/")}
    scale, m1, m2, m3, threshold = recorded["scale_m1_m2_m3_filter"].tolist()
    margin = CombinedMargin(scale, m1, m2=m2, m3=m3, gradient="straight_through", filter_threshold=threshold or None)
    classifier = FullSoftmax(*recorded["centers"].shape, margin, chunk_size=chunk_size)
    classifier.centers = nn.Parameter(torch.from_numpy(recorded["centers"]))
    embeddings = torch.from_numpy(recorded["embeddings"]).requires_grad_()
    losses = classifier(embeddings, torch.from_numpy(recorded["labels"]))
    loss = (losses * torch.from_numpy(recorded["sample_weight"])).mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(recorded["loss"]), rel=1e-4)
    assert relative_error(embeddings.grad, torch.from_numpy(recorded["grad_embeddings"])) < 1e-4
    assert relative_error(classifier.centers.grad, torch.from_numpy(recorded["grad_centers"])) < 1e-4
