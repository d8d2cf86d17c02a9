"""Losses of the tasks against recorded values and gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.faceptor_packs import KIND_OF_PREFIX, Pack, assert_close
from torch import Tensor, nn
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.losses.ages import distribution_divergence, mean_year, mean_year_error, year_distribution, year_shares
from transface.losses.landmarks import cut_gaussians, heatmap_cross_entropy, point_distance
from transface.margins.cosface import CosFace
from transface.systems.generalist.decoder.interpreters import soft_argmax
from transface.systems.generalist.task_losses import TASK_LOSSES, landmark_loss, weighted_mean
from transface.systems.generalist.tasks import BASE, BASE_KIND_WEIGHTS, FULL, FULL_KIND_WEIGHTS, task_weights


@pytest.fixture(scope="module")
def pack(shared: Path) -> Pack:
    return Pack(shared, "losses")


def gradient(loss: Tensor, inputs: Tensor) -> Tensor:
    return torch.autograd.grad(loss, inputs, retain_graph=True)[0]


def test_landmark_losses_equal_the_recorded_ones(pack: Pack) -> None:
    for case in sorted({key.split("/")[0] for key in pack.below("landmarks/")}):
        start, cfg = f"landmarks/{case}/", pack.cfg[f"landmarks_{case}"]
        points = (pack[start + "in/points_px"] + 0.5) / cfg["input_size"]
        assert_close(points, pack[start + "out/points_normalised"])
        size, radius = (cfg["heatmap_size"],) * 2, cfg["heatmap_radius"]
        assert_close(cut_gaussians(points, size, radius), pack[start + "out/target_heatmap"])
        logits = pack[start + "in/heatmap_logits"].requires_grad_()
        assert_close(soft_argmax(logits), pack[start + "out/pred_landmark_normalised"])
        assert_close(point_distance(soft_argmax(logits), points), pack[start + "out/coord_loss"])
        assert_close(heatmap_cross_entropy(logits, points, size=size, radius=radius), pack[start + "out/heatmap_loss"])
        total = landmark_loss(logits, points, size=size, radius=radius)
        assert_close(total, pack[start + "out/total"])
        assert_close(gradient(total, logits), pack[start + "out/grad_heatmap_logits"], 1e-4)


def test_the_parsing_loss_equals_the_recorded_one(pack: Pack) -> None:
    logits = pack["parsing/in/logits_bhwk"].requires_grad_()
    loss = TASK_LOSSES["parsing"](logits.permute(0, 3, 1, 2), pack["parsing/in/label"])
    assert_close(loss, pack["parsing/out/loss"])
    assert_close(gradient(loss, logits), pack["parsing/out/grad_logits"], 1e-4)


def test_the_age_loss_equals_the_recorded_one(pack: Pack) -> None:
    logits, ages = pack["age/in/logits"].requires_grad_(), pack["age/in/age"]
    assert_close(year_distribution(ages), pack["age/out/target_distribution"])
    assert_close(mean_year(year_shares(logits)), pack["age/out/predicted_age"])
    assert_close(distribution_divergence(logits, ages), pack["age/out/kl"])
    assert_close(mean_year_error(logits, ages), pack["age/out/l1"])
    loss = TASK_LOSSES["age"](logits, ages)
    assert_close(loss, pack["age/out/total"])
    assert_close(gradient(loss, logits), pack["age/out/grad_logits"], 1e-4)
    for key in pack.below("age/out/target_distribution_for_age_"):
        ours = year_distribution(torch.tensor([float(key)]))[0]
        np.testing.assert_allclose(ours, pack[f"age/out/target_distribution_for_age_{key}"], atol=2e-5)


def test_expression_and_attribute_losses_equal_the_recorded_ones(pack: Pack) -> None:
    for kind, label, loss_key, grad_key in (
        ("expression", "label", "loss", "grad_logits"),
        ("attributes", "label", "loss", "grad_logits"),
        ("attributes", "label_with_missing", "loss_with_missing", "grad_logits_with_missing"),
    ):
        logits = pack[f"{kind}/in/logits"].requires_grad_()
        loss = TASK_LOSSES[kind](logits, pack[f"{kind}/in/{label}"])
        assert_close(loss, pack[f"{kind}/out/{loss_key}"])
        assert_close(gradient(loss, logits), pack[f"{kind}/out/{grad_key}"], 1e-4)


def test_the_identity_loss_equals_the_recorded_one(pack: Pack) -> None:
    embeddings, labels = pack["identity/in/embedding"].requires_grad_(), pack["identity/in/label"]
    centers = next(pack[key] for key in pack.arrays if key.startswith("identity/in/") and key.endswith(".classifier"))
    cfg = pack.cfg["identity"]
    head = FullSoftmax(*centers.shape, CosFace(cfg["scale"], cfg["margin"]))
    head.centers = nn.Parameter(centers)
    cosines = F.normalize(embeddings) @ F.normalize(centers).T
    assert_close(cosines, pack["identity/out/cosine"])
    loss = head(embeddings, labels).mean()
    loss.backward()
    assert_close(loss, pack["identity/out/loss"])
    assert_close(embeddings.grad, pack["identity/out/grad_embedding"], 1e-4)
    assert_close(head.centers.grad, pack["identity/out/grad_classifier"], 1e-4)
    right = 100 * (cosines.argmax(1) == labels).double().mean()
    assert_close(right[None], pack["identity/out/top1_percent"])


def test_accuracies_beside_the_losses_equal_the_recorded_ones(pack: Pack) -> None:
    right = pack["expression/in/logits"].argmax(1) == pack["expression/in/label"]
    assert_close(100 * right.double().mean()[None], pack["expression/out/top1_percent"])
    given = (pack["attributes/in/logits"] > 0).to(torch.int64)
    for tag in ("", "_with_missing"):  # a missing label counts as wrong there
        share = 100 * (given == pack[f"attributes/in/label{tag}"]).double().mean()
        assert_close(share, pack[f"attributes/out/mean_accuracy_percent{tag}"], 1e-6)
    within = (mean_year(year_shares(pack["age/in/logits"])) - pack["age/in/age"]).abs() <= 5
    assert_close(100 * within.double().mean(), pack["age/out/cs5_percent"], 1e-6)


@pytest.mark.parametrize("rows", ["base", "full"])
def test_the_total_equals_the_recorded_one(pack: Pack, rows: str) -> None:
    start = f"total/{rows}/"
    losses = {}
    for name in pack.cfg[f"total_{rows}_order"]:
        own = f"{start}in/{name}/"
        kind = KIND_OF_PREFIX[name.split("_")[0]]
        if kind == "identity":
            cosine = F.normalize(pack[own + "output"]) @ F.normalize(pack[f"{start}in/classifier"]).T
            one_hot = F.one_hot(pack[own + "label"], cosine.shape[1])
            losses[name] = F.cross_entropy(64 * (cosine - 0.4 * one_hot), pack[own + "label"])
        elif kind == "landmarks":
            losses[name] = landmark_loss(pack[own + "heatmap_logits"], (pack[own + "points_px"] + 0.5) / 512)
        elif kind == "age":
            losses[name] = TASK_LOSSES[kind](pack[own + "output"], pack[own + "age"])
        elif kind == "parsing":
            losses[name] = TASK_LOSSES[kind](pack[own + "output"].permute(0, 3, 1, 2), pack[own + "label"])
        else:
            losses[name] = TASK_LOSSES[kind](pack[own + "output"], pack[own + "label"])
    tasks, weights = (BASE, BASE_KIND_WEIGHTS) if rows == "base" else (FULL, FULL_KIND_WEIGHTS)
    ours = task_weights(tasks, weights)
    assert list(ours) == pack.cfg[f"total_{rows}_order"]
    assert_close(list(ours.values()), pack[start + "out/weights"], 1e-12)
    assert_close(sum(ours.values()), pack[start + "out/weight_sum"], 1e-12)
    assert_close(torch.stack(list(losses.values())), pack[start + "out/task_losses"])
    assert_close(weighted_mean(losses, ours), pack[start + "out/total"])


def test_weights_and_images_a_step_are_those_of_the_published_table(pack: Pack) -> None:
    for rows, tasks, weights in (("base", BASE, BASE_KIND_WEIGHTS), ("full", FULL, FULL_KIND_WEIGHTS)):
        recorded = pack.cfg["weights"][rows]
        assert task_weights(tasks, weights) == pytest.approx(recorded["weight"])
        images = {name: count * recorded["devices"] for name, count in recorded["batch_per_device"].items()}
        assert {task.name: task.batch_size for task in tasks} == images


def test_soft_argmax_of_a_drawn_point_is_the_point_away_from_the_border() -> None:
    points = 6 + torch.rand(50, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 115
    heat = cut_gaussians((points + 0.5) / 128, (128, 128))
    logits = torch.logit(heat.clamp(1e-12, 1 - 1e-12))
    assert ((soft_argmax(logits) * 128 - 0.5) - points).abs().max() < 1e-3


def test_a_heat_map_peaks_at_one_on_a_cell_and_ends_at_its_radius() -> None:
    heat = cut_gaussians((torch.tensor([[[20.0, 30.0]]]) + 0.5) / 64, (64, 64), 5.0)[0, 0]
    assert heat[30, 20] == 1
    assert heat[30, 25] > 0
    assert heat[30, 26] == 0
    assert heat[30, 22] == pytest.approx(float(np.exp(-0.5 * (2 / 1.25) ** 2)), rel=1e-5)
