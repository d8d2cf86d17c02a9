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
from transface.classifiers.partial_fc import PartialFC
from transface.classifiers.subcenters import dominant_subcenters, near_dominant
from transface.classifiers.unitsface import UniTSFace
from transface.margins.combined import CombinedMargin
from transface.margins.cosface import CosFace
from transface.margins.elasticface import assign_margins, elastic_cosines
from transface.margins.magface import MagFace
from transface.margins.uniface import UniFace
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


@pytest.mark.parametrize("pack", ["uniface"], indirect=True)
def test_uniface_is_the_released_one_with_all_and_with_sampled_classes(pack: dict[str, np.ndarray]) -> None:
    compared = 0
    for case in cases(pack):
        if "/uce" not in case:
            continue
        hyper, labels = settings(pack, case), of_case(pack, case, "label")
        embeddings, weight = of_case(pack, case, "embedding").requires_grad_(), of_case(pack, case, "weight")
        sizes = {"margin": hyper["m"], "others_weight": hyper["l"], "sample_rate": hyper["r"]}
        margin = UniFace(len(weight), hyper["s"], **sizes).double()
        assert margin.threshold.item() == pytest.approx(float(pack[f"{case}/initial_bias"][0]), rel=1e-6)
        margin.threshold.data.fill_(float(pack[f"{case}/in_bias"][0]))
        head = PartialFC(*weight.shape, margin, sample_rate=hyper["r"], chunk_size=7)
        head.centers = nn.Parameter(weight)
        sampled = pack.get(f"{case}/in_partial_index")
        loss = head(embeddings, labels, classes=None if sampled is None else torch.from_numpy(sampled)).mean()
        loss.backward()
        assert loss.item() == pytest.approx(float(pack[f"{case}/out_loss"]), rel=2e-5)
        head.centers.grad = head.centers.grad.to_dense()
        assert_gradients(pack, case, embeddings, head.centers)
        assert_near(margin.threshold.grad[None], tensor(pack, f"{case}/grad_bias"), 1e-4)
        compared += 1
    assert compared


@pytest.mark.parametrize("pack", ["unitsface"], indirect=True)
def test_unitsface_s_loss_against_the_bank_is_the_released_one(pack: dict[str, np.ndarray]) -> None:
    compared = 0
    for key in pack:
        case = key.removesuffix("/out_loss")
        if key == case or "/uss_" not in case:
            continue
        margin, scale = (float(word[1:]) for word in case.split("_")[-2:])
        bank = tensor(pack, "in/feature_memory")
        head = UniTSFace(FullSoftmax(*bank.shape, CosFace(64.0, 0.4)), margin=margin, scale=scale).double()
        head.bank.copy_(bank)
        head.is_seen.fill_(True)
        threshold = head.threshold_loss.threshold
        threshold.data.fill_(float(pack[f"{case}/bias_before"][0]))
        embeddings, labels = tensor(pack, "in/embedding").requires_grad_(), tensor(pack, "in/label")
        loss = head.bank_losses(embeddings, labels).mean()
        loss.backward()
        assert loss.item() == pytest.approx(float(pack[f"{case}/out_loss"]), rel=2e-5)
        assert threshold.item() == pytest.approx(float(pack[f"{case}/bias_after"][0]), rel=2e-5)
        norms = embeddings.detach().norm(dim=1, keepdim=True)
        assert_near(embeddings.grad * norms, tensor(pack, f"{case}/grad_embedding") * norms, 1e-4)
        assert_near(threshold.grad[None], tensor(pack, f"{case}/grad_bias"), 1e-4)
        compared += 1
    assert compared


@pytest.mark.parametrize("pack", ["unitsface"], indirect=True)
def test_unitsface_s_steps_and_its_bank_are_the_released_ones(pack: dict[str, np.ndarray]) -> None:
    weight, bank = tensor(pack, "in/weight"), tensor(pack, "in/feature_memory")
    head = UniTSFace(FullSoftmax(*weight.shape, CosFace(64.0, 0.4)), margin=0.1, scale=64.0).double()
    head.classifier.centers = nn.Parameter(weight)
    # The released bank begins with numbers of its own, which its first steps have already replaced or not.
    first = tensor(pack, "sequence/step_0/out_feature_memory")
    labels = tensor(pack, "sequence/step_0/in_label")
    head.bank.copy_(first)
    head.is_seen.fill_(True)
    head.bank[labels] = bank[labels]
    steps = sorted({key.split("/")[1] for key in pack if key.startswith("sequence/")})
    for number, step in enumerate(steps):
        case = f"sequence/{step}"
        head.follow(step=number, epoch=int(pack[f"{case}/epoch"]))
        embeddings = tensor(pack, f"{case}/in_embedding").requires_grad_()
        loss = head(embeddings, tensor(pack, f"{case}/in_label")).mean()
        loss.backward()
        assert loss.item() == pytest.approx(float(pack[f"{case}/out_loss"]), rel=2e-5)
        norms = embeddings.detach().norm(dim=1, keepdim=True)
        assert_near(embeddings.grad * norms, tensor(pack, f"{case}/grad_embedding") * norms, 1e-4)
        head.write_remembered()
        assert_near(head.bank, tensor(pack, f"{case}/out_feature_memory"), 2e-5)
        assert head.threshold_loss.threshold.item() == pytest.approx(float(pack[f"{case}/out_bias"][0]), rel=2e-5)


@pytest.mark.parametrize("pack", ["subcenter_arcface"], indirect=True)
def test_subcentre_arcface_is_the_released_one(pack: dict[str, np.ndarray]) -> None:
    for case in cases(pack):
        hyper, labels = settings(pack, case), of_case(pack, case, "label")
        embeddings, weight = of_case(pack, case, "embedding").requires_grad_(), of_case(pack, case, "weight")
        margin = CombinedMargin(
            hyper["s"], hyper["m1"], m2=hyper["m2"], m3=hyper["m3"], gradient="exact", beyond_pi="released"
        )
        each = F.normalize(embeddings.detach()) @ F.normalize(weight.flatten(0, 1)).T
        assert_near(each.view(len(labels), *weight.shape[:2]), tensor(pack, f"{case}/cosine_all_subcentres"), 2e-5)
        cosines = each.view(len(labels), *weight.shape[:2]).amax(2)
        assert_near(margin(cosines, labels), tensor(pack, f"{case}/out_logits"), 2e-5)
        head = FullSoftmax(len(weight), weight.shape[2], margin, chunk_size=7, num_subcenters=hyper["K"])
        head.centers = nn.Parameter(weight.flatten(0, 1))
        loss = head(embeddings, labels).mean()
        loss.backward()
        assert loss.item() == pytest.approx(float(pack[f"{case}/out_loss"]), rel=2e-5)
        norms = embeddings.detach().norm(dim=1, keepdim=True)
        assert_near(embeddings.grad * norms, tensor(pack, f"{case}/grad_embedding") * norms, 1e-4)
        assert_near(head.centers.grad.view(weight.shape), tensor(pack, f"{case}/grad_weight"), 1e-4)


@pytest.mark.parametrize("pack", ["subcenter_arcface"], indirect=True)
def test_images_far_from_the_dominant_subcentre_are_the_released_ones(pack: dict[str, np.ndarray]) -> None:
    images, centers = tensor(pack, "drop/in_embedding_unit"), tensor(pack, "drop/in_weight_unit")
    labels = torch.zeros(len(images), dtype=torch.int64)
    found = dominant_subcenters(images, labels, centers, num_subcenters=len(centers))
    assert torch.equal(found.votes[0], tensor(pack, "drop/out_votes"))
    assert found.dominant.item() == int(pack["drop/out_dominant"])
    for key in pack:
        if key.startswith("drop/out_kept_threshold_"):
            degrees = float(key.split("_")[-2])
            kept = near_dominant(found, most_degrees=degrees).nonzero()[:, 0]
            assert torch.equal(kept, tensor(pack, key))
