"""The whole small model, both stages: outputs, losses, gradients and one optimizer step against the recorded ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.faceptor_packs import Pack, assert_answers, assert_close, read_layers, small_model, small_tasks
from torch import Tensor, nn
from torch.nn import functional as F

from transface.systems.generalist.faceptor import Faceptor
from transface.systems.generalist.released import load_released, our_key
from transface.systems.generalist.task_losses import TASK_LOSSES, weighted_mean
from transface.systems.generalist.tasks import task_weights


def cosface(embedding: Tensor, classifier: Tensor, labels: Tensor) -> Tensor:
    cosine = F.normalize(embedding, eps=1e-8) @ F.normalize(classifier, eps=1e-8).T
    return F.cross_entropy(64 * (cosine - 0.4 * F.one_hot(labels, len(classifier))), labels)


def opened(shared: Path, name: str) -> tuple[Pack, Faceptor, nn.Parameter | None]:
    pack = Pack(shared, name)
    state = pack.state()
    if name == "whole_stage2":
        state = Pack(shared, "whole_stage1").state() | state
    model = small_model(pack.cfg, read_layers(pack.cfg["depth"], state))
    load_released(model, state)
    classifier = next((nn.Parameter(value) for key, value in state.items() if key.endswith(".classifier")), None)
    return pack, model, classifier


def losses_of(pack: Pack, model: Faceptor, classifier: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    names = pack.cfg["task_order"]
    answers = model.forward_batches({name: pack[f"in/{name}/image"] for name in names})
    losses: dict[str, Tensor] = {}
    for name in names:
        label: Any = pack[f"in/{name}/label"]
        kind = model.tasks[name].kind
        if kind == "identity":
            assert classifier is not None
            losses[name] = cosface(answers[name], classifier, label)
            continue
        label = (label + 0.5) / 512 if kind == "landmarks" else label
        losses[name] = TASK_LOSSES[kind](answers[name], label)
    return answers, losses


@pytest.mark.parametrize("name", ["whole_stage1", "whole_stage2"])
@torch.no_grad()
def test_outputs_and_losses_equal_the_recorded_ones(shared: Path, name: str) -> None:
    pack, model, classifier = opened(shared, name)
    answers, losses = losses_of(pack, model.eval(), classifier)
    assert_answers(pack, model, answers)
    assert_close(torch.stack(list(losses.values())), pack["out_eval/task_losses"])
    weights = dict(zip(pack.cfg["task_order"], pack["weights"].tolist(), strict=True))
    assert_close(weighted_mean(losses, weights), pack["out_eval/total"])


@pytest.mark.parametrize("name", ["whole_stage1", "whole_stage2"])
def test_one_training_step_gives_the_recorded_gradients_and_weights(shared: Path, name: str) -> None:
    pack, model, classifier = opened(shared, name)
    cfg = pack.cfg
    if name == "whole_stage2":
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(
                key.startswith("memory.projections.") and not key.startswith("memory.projections.0.")
            )
        model.memory.layer_embedding.requires_grad_(True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    _, losses = losses_of(pack, model.train(), classifier)
    assert_close(torch.stack(list(losses.values())), pack["out_train/task_losses"])
    weights = dict(zip(cfg["task_order"], pack["weights"].tolist(), strict=True))
    total = weighted_mean(losses, weights)
    assert_close(total, pack["out_train/total"])
    total.backward()
    if name == "whole_stage2":
        model.memory.layer_embedding.grad[:1] = 0  # the row of the main layer is frozen
    named: dict[str, Tensor] = dict(model.named_parameters())
    parameters = [p for p in [*named.values(), classifier] if p is not None and p.grad is not None]
    assert_close(nn.utils.get_total_norm([p.grad for p in parameters]), pack["grad_norm_before_clip"], 1e-4)

    def own(key: str, values: dict[str, Tensor], of_classifier: Tensor | None) -> Tensor:
        if key.endswith(".classifier"):
            return of_classifier
        if key.endswith("level_embed.weight"):
            rows = values["memory.layer_embedding"]
            return rows[1:] if "new_" in key else rows[:1]
        return values[our_key(key)]

    norms = pack["grad_norm_per_tensor"]
    for key, recorded in zip(cfg["grad_norm_order"], norms, strict=True):
        if key not in cfg["gradient_only_rounding_noise"] and key not in cfg["trainable_without_gradient"]:
            gradient = own(key, {k: p.grad for k, p in named.items()}, None if classifier is None else classifier.grad)
            assert gradient.norm().item() == pytest.approx(recorded.item(), rel=1e-3, abs=1e-4 * norms.max().item()), (
                key
            )

    gradients = {key: p.grad for key, p in named.items() if p.grad is not None}
    for key in pack.below("grad/"):
        gradient = own(key, gradients, None if classifier is None else classifier.grad)
        recorded = pack[f"grad/{key}"]
        assert_close(gradient.reshape(recorded.shape), recorded, 1e-4)
    nn.utils.clip_grad_norm_(parameters, cfg["clip_norm"])
    encoder = [p for p in model.encoder.parameters() if p.grad is not None]
    rest = [p for p in parameters if all(p is not one for one in encoder)]
    groups = [
        {"params": group, "lr": rate}
        for group, rate in ((encoder, cfg["lr_backbone"]), (rest, cfg["lr_other"]))
        if group
    ]
    torch.optim.AdamW(groups, betas=cfg["betas"], eps=cfg["adam_eps"], weight_decay=cfg["weight_decay"]).step()
    compared = 0
    for key in pack.below("after_step/"):
        recorded = pack[f"after_step/{key}"]
        after = own(key, model.state_dict(), None if classifier is None else classifier.detach()).reshape(
            recorded.shape
        )
        gradient = own(key, gradients, None if classifier is None else classifier.grad).reshape(recorded.shape)
        rate = cfg["lr_backbone"] if "backbone_module" in key else cfg["lr_other"]
        certain = gradient.abs() > 1e-6
        compared += int(certain.sum())
        rounding = 2 * torch.finfo(torch.float32).eps * recorded.abs()
        assert ((after - recorded).abs() <= 0.01 * rate + rounding)[certain].all(), key
        assert ((after - recorded).abs() <= 2.1 * rate + rounding).all(), key
    assert compared
    unchanged = [key for key, p in model.named_parameters() if p.grad is None]
    assert all(torch.equal(before[key], model.state_dict()[key]) for key in unchanged)


def test_weights_of_the_tasks_are_the_recorded_ones(shared: Path) -> None:
    pack = Pack(shared, "whole_stage1")
    kinds = {"recog": "identity", "biattr": "attributes", "affect": "expression", "align": "landmarks"}
    by_kind = {kinds.get(key, key): value for key, value in pack.cfg["group_weight"].items()}
    ours = task_weights(small_tasks(pack.cfg), by_kind)
    recorded = dict(zip(pack.cfg["task_order"], pack["weights"].tolist(), strict=True))
    expressions = [name for name in recorded if name.startswith("affect_")]
    for name in recorded.keys() - set(expressions):
        assert ours[name] == pytest.approx(recorded[name])
    assert sum(ours[name] for name in expressions) == pytest.approx(sum(recorded[name] for name in expressions))


def test_a_released_file_with_a_tensor_too_few_is_refused(shared: Path) -> None:
    pack = Pack(shared, "whole_stage1")
    state = pack.state()
    state.pop("module.heads_module.interpreters.value.fc.bias")
    with pytest.raises(ValueError, match=r"1 missing: .*interpreters\.value\.fc\.bias"):
        load_released(small_model(pack.cfg, read_layers(pack.cfg["depth"], state)), state)
