"""Margins and threshold losses against numbers recorded from the programs their authors released."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.loss_packs import (
    assert_gradients,
    assert_head_gives,
    assert_near,
    cases,
    of_case,
    settings,
    steps_of,
    tensor,
)
from torch import nn
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
        recorded = tensor(pack, f"{case}/out_logits")
        assert_near(logits, recorded[kept], 2e-5)
        if not kept.all():
            assert_near(hyper["s"] * cosines[~kept], recorded[~kept], 2e-5)
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
        norms = of_case(pack, case, "embedding").norm(dim=1)
        assert_near(margin.margins(norms)[:, None], tensor(pack, f"{case}/out_margin"), 2e-5)
        regulariser = margin.regulariser(norms).mean()
        assert_near(regulariser, hyper["lambda_g"] * tensor(pack, f"{case}/out_loss_g"), 2e-5)
        whole = tensor(pack, f"{case}/out_loss_id") + regulariser
        assert_near(whole, tensor(pack, f"{case}/out_loss"), 2e-5)


@pytest.mark.parametrize("pack", ["uniface", "unitsface"], indirect=True)
def test_softmax_beside_the_threshold_losses_is_cosface(pack: dict[str, np.ndarray]) -> None:
    compared = [case for case in cases(pack) if case.endswith("/softmax")]
    for case in compared:
        hyper = settings(pack, case)
        assert_head_gives(pack, case, CosFace(hyper["s"], hyper["m"]))
    assert compared


@pytest.mark.parametrize("pack", ["combined_margin"], indirect=True)
def test_combined_margins_are_the_released_ones(pack: dict[str, np.ndarray]) -> None:
    for case in cases(pack):
        hyper = settings(pack, case)
        margin = CombinedMargin(
            hyper["s"],
            hyper["m1"],
            m2=hyper["m2"],
            m3=hyper["m3"],
            gradient="straight_through",
            filter_threshold=hyper["interclass_filtering_threshold"] or None,
        )
        margin.loss_ceiling = None  # the pack holds the plain cross-entropy; arcface_torch reports at most 69.08
        assert_head_gives(pack, case, margin)
        labels = of_case(pack, case, "label_with_minus_1")
        embeddings, weight = of_case(pack, case, "embedding"), of_case(pack, case, "weight")
        cosines = F.normalize(embeddings) @ F.normalize(weight).T
        logits, own = margin.other_logits(cosines, cosines.amax(1)), labels >= 0
        logits[own] = margin(cosines[own], labels[own], embeddings[own].norm(dim=1))
        assert_near(logits, tensor(pack, f"{case}/out_logits_with_minus_1"), 2e-5)


@pytest.mark.parametrize("pack", ["uniface", "unitsface"], indirect=True)
def test_uniface_is_the_released_one_with_all_and_with_sampled_classes(pack: dict[str, np.ndarray]) -> None:
    compared = 0
    for case in cases(pack):
        if "/uce" not in case:
            continue
        hyper, labels = settings(pack, case), of_case(pack, case, "label")
        embeddings, weight = of_case(pack, case, "embedding").requires_grad_(), of_case(pack, case, "weight")
        rate = hyper.get("r", 1.0)  # UniTSFace weighs and samples nothing
        sizes = {"margin": hyper["m"], "others_weight": hyper.get("l", 1.0), "sample_rate": rate}
        margin = UniFace(len(weight), hyper["s"], **sizes).double()
        assert margin.threshold.item() == pytest.approx(float(pack[f"{case}/initial_bias"][0]), rel=1e-6)
        margin.threshold.data.fill_(float(pack[f"{case}/in_bias"][0]))
        head = PartialFC(*weight.shape, margin, sample_rate=rate, chunk_size=7)
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
    steps = steps_of(pack, "sequence")
    first, labels = (tensor(pack, f"{steps[0]}/{name}") for name in ("out_feature_memory", "in_label"))
    head.bank.copy_(first)
    head.is_seen.fill_(True)
    head.bank[labels] = bank[labels]
    for number, case in enumerate(steps):
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
