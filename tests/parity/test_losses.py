"""Margins and threshold losses against numbers recorded from the programs their authors released."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.margins.elasticface import assign_margins, elastic_cosines
from transface.margins.magface import MagFace
from transface.margins.x2softmax import X2Softmax


@pytest.fixture
def pack(shared: Path, request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "parity/losses" / f"{request.param}.npz", allow_pickle=False))


def tensor(pack: dict[str, np.ndarray], key: str) -> Tensor:
    found = torch.from_numpy(np.asarray(pack[key]))
    return found.double() if found.is_floating_point() else found


def settings(pack: dict[str, np.ndarray], case: str) -> dict[str, Any]:
    return json.loads(str(pack[f"{case}/hyper_json"]))


def cases(pack: dict[str, np.ndarray], under: str = "") -> list[str]:
    return [key.removesuffix("/hyper_json") for key in pack if key.endswith("/hyper_json") and key.startswith(under)]


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def assert_gradients(pack: dict[str, np.ndarray], case: str, embeddings: Tensor, weight: Tensor) -> None:
    norms = embeddings.detach().norm(dim=1, keepdim=True)
    assert_near(embeddings.grad * norms, tensor(pack, f"{case}/grad_embedding") * norms, 1e-4)
    assert_near(weight.grad, tensor(pack, f"{case}/grad_weight"), 1e-4)


def of_case(pack: dict[str, np.ndarray], case: str, name: str) -> Tensor:
    return tensor(pack, f"{case}/in_{name}" if f"{case}/in_{name}" in pack else f"in/{name}")


@pytest.mark.parametrize("pack", ["elasticface"], indirect=True)
def test_elasticface_is_the_released_one(pack: dict[str, np.ndarray]) -> None:
    for case in cases(pack):
        hyper, labels = settings(pack, case), of_case(pack, case, "label")
        kept = labels >= 0
        embeddings, weight = (of_case(pack, case, name).requires_grad_() for name in ("embedding", "weight"))
        cosines = F.normalize(embeddings) @ F.normalize(weight).T
        own = cosines[kept].gather(1, labels[kept, None])[:, 0]
        margins = tensor(pack, f"{case}/in_margin") if "std" in hyper else torch.full_like(own, hyper["m"])
        margins = assign_margins(margins, own.detach(), "released" if hyper.get("plus") else "random")
        moved = elastic_cosines(own, margins, kind=case[:3], beyond_pi="released")
        logits = hyper["s"] * cosines[kept].scatter(1, labels[kept, None], moved[:, None])
        assert_near(logits, tensor(pack, f"{case}/out_logits")[kept], 2e-5)
        loss = F.cross_entropy(logits, labels[kept])
        loss.backward()
        assert loss.item() == pytest.approx(float(pack[f"{case}/out_loss"]), rel=2e-5)
        assert_gradients(pack, case, embeddings, weight)


@pytest.mark.parametrize("pack", ["x2softmax"], indirect=True)
def test_x2softmax_is_the_released_one(pack: dict[str, np.ndarray]) -> None:
    for case in cases(pack):
        hyper = settings(pack, case)
        margin = X2Softmax(
            hyper["s"], hyper["a"], vertex_radians=hyper["h"], height=hyper["k"], gradient="straight_through"
        )
        assert_head_gives(pack, case, margin)


@pytest.mark.parametrize("pack", ["magface"], indirect=True)
def test_magface_is_the_released_one_with_either_margin(pack: dict[str, np.ndarray]) -> None:
    for case in cases(pack):
        hyper = settings(pack, case)
        margin = MagFace(
            hyper["s"],
            hyper["l_a"],
            highest_norm=hyper["u_a"],
            lowest_margin_radians=hyper["l_margin"],
            highest_margin_radians=hyper["u_margin"],
            regulariser_weight=hyper["lambda_g"],
            applies_to="positive_cosines" if hyper["easy_margin"] else "all",
        )
        assert_head_gives(pack, case, margin)


def assert_head_gives(pack: dict[str, np.ndarray], case: str, margin: nn.Module) -> None:
    """Compare the logits of the margin, and the loss and gradients of a head with it, with those recorded."""
    labels = of_case(pack, case, "label")
    embeddings, weight = of_case(pack, case, "embedding").requires_grad_(), of_case(pack, case, "weight")
    cosines = F.normalize(embeddings.detach()) @ F.normalize(weight).T
    assert_near(
        margin.eval()(cosines, labels, embeddings.detach().norm(dim=1)), tensor(pack, f"{case}/out_logits"), 2e-5
    )
    head = FullSoftmax(*weight.shape, margin, chunk_size=7)
    head.centers = nn.Parameter(weight)
    loss = head(embeddings, labels).mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(pack[f"{case}/out_loss"]), rel=2e-5)
    assert_gradients(pack, case, embeddings, head.centers)
