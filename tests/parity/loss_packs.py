"""How the tests of margins and threshold losses read their packs: cases, settings, float64, comparison by the largest
value.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax


def tensor(pack: dict[str, np.ndarray], key: str) -> Tensor:
    found = torch.from_numpy(np.asarray(pack[key]))
    return found.double() if found.is_floating_point() else found


def settings(pack: dict[str, np.ndarray], case: str) -> dict[str, Any]:
    return json.loads(str(pack[f"{case}/hyper_json"]))


def cases(pack: dict[str, np.ndarray], under: str = "") -> list[str]:
    return [key.removesuffix("/hyper_json") for key in pack if key.endswith("/hyper_json") and key.startswith(under)]


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def assert_gradients(pack: dict[str, np.ndarray], case: str, embeddings: Tensor, weight: Tensor) -> None:
    norms = embeddings.detach().norm(dim=1, keepdim=True)
    assert_near(embeddings.grad * norms, tensor(pack, f"{case}/grad_embedding") * norms, 1e-4)
    assert_near(weight.grad, tensor(pack, f"{case}/grad_weight"), 1e-4)


def of_case(pack: dict[str, np.ndarray], case: str, name: str) -> Tensor:
    return tensor(pack, f"{case}/in_{name}" if f"{case}/in_{name}" in pack else f"in/{name}")


def steps_of(pack: dict[str, np.ndarray], case: str) -> list[str]:
    """Return where the steps of a case lie, in their order; the case itself where it is one step."""
    words = [key.removeprefix(f"{case}/").split("/")[0] for key in pack if key.startswith(f"{case}/step_")]
    return [f"{case}/{word}" for word in sorted(set(words), key=lambda word: int(word.split("_")[1]))] or [case]


def assert_head_gives(pack: dict[str, np.ndarray], case: str, margin: nn.Module) -> None:
    """Compare the logits of the margin, and the loss and gradients of a head with it, with those recorded."""
    labels = of_case(pack, case, "label")
    embeddings, weight = of_case(pack, case, "embedding").requires_grad_(), of_case(pack, case, "weight")
    cosines = F.normalize(embeddings.detach()) @ F.normalize(weight).T
    if f"{case}/out_logits" in pack:  # plain softmax beside the threshold losses is recorded without
        logits = margin.eval()(cosines, labels, embeddings.detach().norm(dim=1))
        assert_near(logits, tensor(pack, f"{case}/out_logits"), 2e-5)
    head = FullSoftmax(*weight.shape, margin, chunk_size=7)
    head.centers = nn.Parameter(weight)
    loss = head(embeddings, labels).mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(pack[f"{case}/out_loss"]), rel=2e-5)
    assert_gradients(pack, case, embeddings, head.centers)
