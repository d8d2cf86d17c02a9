"""The step of occlusion: the teacher is untouched and unknown to optimizer and checkpoint; lambda 0 is plain
cross-entropy.
"""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import nn

from transface.backbones.timm_encoder import TimmEncoder
from transface.data.augment.occluders import HalfBlackOut
from transface.data.augment.surgical_mask import SurgicalMask
from transface.data.batches import FaceBatch
from transface.data.labels.table import _row_type
from transface.systems.occlusion.answer_network import AnswerNetwork
from transface.systems.occlusion.distillations import SoftTargets, TripletTargets
from transface.systems.occlusion.module import OcclusionModule
from transface.systems.occlusion.stages import open_network, started_from

OUTPUTS = {"gender": {"kind": "one_of", "names": ["male", "female"]}, "age": {"kind": "number", "unit": "years"}}
SGD = partial(torch.optim.SGD, lr=0.01)


def network(**settings: Any) -> AnswerNetwork:
    torch.manual_seed(settings.pop("seed", 0))
    return AnswerNetwork(
        TimmEncoder(settings.pop("name", "resnet10t"), image_size=32), settings.pop("outputs", OUTPUTS), **settings
    )


def batch(count: int = 16) -> FaceBatch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = _row_type(("gender", "age"))(torch.arange(count) % 2, torch.arange(count).float() * 5)
    return FaceBatch(images, labels, torch.arange(count))


def run(module: OcclusionModule, folder: Path | None = None) -> lightning.Trainer:
    loader = torch.utils.data.DataLoader([batch(), batch()], batch_size=None)
    settings: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", **settings)
    trainer.fit(module, loader)
    if folder is not None:
        trainer.save_checkpoint(folder / "trainer.ckpt")
    return trainer


@pytest.mark.parametrize("distillation", [SoftTargets(), TripletTargets()])
def test_the_teacher_is_bit_identical_after_training_and_absent_from_optimizer_and_checkpoint(
    distillation: Any, tmp_path: Path
) -> None:
    teacher = network(seed=1)
    before = copy.deepcopy(teacher.state_dict())
    module = OcclusionModule(
        network(), occluder=HalfBlackOut("lower"), teacher=teacher, distillation=distillation, optimizer=SGD
    )
    start = copy.deepcopy(module.network.state_dict())
    trainer = run(module, tmp_path)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert any(not torch.equal(start[name], value) for name, value in module.network.state_dict().items())
    taught = {id(p) for p in teacher.parameters()}
    assert not any(id(p) in taught for group in trainer.optimizers[0].param_groups for p in group["params"])
    stored = torch.load(tmp_path / "trainer.ckpt", weights_only=True)
    assert all(name.startswith("network.") for name in stored["state_dict"])
    assert len(stored["state_dict"]) == len(start)


def losses(distillation: Any, teacher: nn.Module | None) -> Any:
    module = OcclusionModule(
        network(),
        occluder=HalfBlackOut("lower"),
        teacher=teacher,
        distillation=distillation,
        optimizer=SGD,
        max_degrees=0,
    )
    return module.eval().losses(batch(), torch.Generator().manual_seed(3))


def test_a_share_of_zero_is_the_plain_loss_and_a_share_of_one_the_teacher_alone() -> None:
    plain = losses(None, None)
    none, half, whole = (losses(SoftTargets(share=share), network(seed=1)) for share in (0.0, 0.5, 1.0))
    assert float(none.total()) == pytest.approx(float(plain.total()), rel=1e-6)
    soft = sum(float(term) for name, term in whole.terms.items() if name.startswith("soft/"))
    assert float(whole.total()) == pytest.approx(soft, rel=1e-6)
    assert float(half.total()) == pytest.approx((float(plain.total()) + soft) / 2, rel=1e-5)
    assert whole.num_samples == 16


def test_triplets_come_beside_the_task_and_unknown_labels_cost_nothing() -> None:
    found = losses(TripletTargets(weight=2.0), network(seed=1))
    assert {"task/gender", "task/age", "triplet/gender", "triplet/age"} == set(found.terms)
    assert found.weights["triplet/gender"] == 2.0
    unknown = batch()
    unknown = unknown._replace(labels=type(unknown.labels)(torch.full((16,), -1), torch.full((16,), float("nan"))))
    module = OcclusionModule(network(), view="whole", optimizer=SGD)
    total = module.losses(unknown, torch.Generator().manual_seed(0)).total()
    total.backward()
    assert float(total.detach()) == 0.0
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_a_teacher_of_another_width_is_compared_through_a_projector_of_the_loss_only() -> None:
    teacher = network(seed=1, name="resnet14t")
    module = OcclusionModule(
        network(), occluder=HalfBlackOut("lower"), teacher=teacher, distillation=TripletTargets(), optimizer=SGD
    )
    assert module.projector is not None
    assert module.losses(batch(), torch.Generator().manual_seed(0)).total().isfinite()
    assert not any("projector" in name for name in module.network.state_dict())


def test_a_teacher_of_another_task_or_image_size_is_refused_by_name() -> None:
    student = network()
    other = network(outputs={"expression": {"kind": "one_of", "names": ["sad", "happy"]}})
    settings: dict[str, Any] = {"occluder": HalfBlackOut("lower"), "distillation": SoftTargets(), "optimizer": SGD}
    with pytest.raises(ValueError, match="another task"):
        OcclusionModule(student, teacher=other, **settings)
    larger = AnswerNetwork(TimmEncoder("resnet10t", image_size=64), OUTPUTS)
    with pytest.raises(ValueError, match=r"\(64, 64\)"):
        OcclusionModule(student, teacher=larger, **settings)
    swapped = network(outputs=OUTPUTS | {"gender": {"kind": "one_of", "names": ["female", "male"]}})
    with pytest.raises(ValueError, match="mean the same by gender"):
        OcclusionModule(student, teacher=swapped, **settings)
    with pytest.raises(ValueError, match="belong together"):
        OcclusionModule(student, teacher=None, **settings)
    with pytest.raises(ValueError, match="needs an occluder"):
        OcclusionModule(student, optimizer=SGD)


def test_a_stage_opens_what_an_earlier_one_trained(tmp_path: Path) -> None:
    module = OcclusionModule(network(), view="whole", optimizer=SGD)
    run(module, tmp_path)
    opened = open_network(tmp_path / "trainer.ckpt")
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(opened(images).gender, module.network.eval()(images).gender)
    fresh = started_from(network(seed=5), tmp_path / "trainer.ckpt")
    assert all(
        torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), opened.state_dict().values(), strict=True)
    )
    with pytest.raises(ValueError, match="another network"):
        started_from(network(name="resnet14t"), tmp_path / "trainer.ckpt")
    with pytest.raises(FileNotFoundError):
        open_network(tmp_path / "none")


def test_ages_are_answered_with_an_interval_or_as_one_number() -> None:
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    age = network().eval()(images).age
    assert age.shape == (3, 3)
    assert (age[:, 1] <= age[:, 0]).all()
    assert (age[:, 0] <= age[:, 2]).all()
    assert network(num_values=None).eval()(images).age.shape == (3,)
    with pytest.raises(ValueError, match="one_of or number"):
        AnswerNetwork(TimmEncoder("resnet10t", image_size=32), {"a": {"kind": "points", "names": ["x"]}})


def test_weights_and_columns_of_no_answer_are_refused_by_name() -> None:
    settings: dict[str, Any] = {"view": "whole", "optimizer": partial(torch.optim.SGD, lr=0.1)}
    with pytest.raises(ValueError, match=r"system.output_weights has agee, the network answers "):
        OcclusionModule(network(), output_weights={"agee": 2.0}, **settings)
    with pytest.raises(ValueError, match=r"system.output_weights must be at least 0 and finite"):
        OcclusionModule(network(), output_weights={next(iter(network().outputs)): -1.0}, **settings)
    with pytest.raises(ValueError, match=r"stage.distillation.columns has smile, the network answers "):
        OcclusionModule(network(), teacher=network(), distillation=TripletTargets(columns=["smile"]), **settings)


def test_an_occluder_that_draws_by_points_says_that_it_has_none(caplog: pytest.LogCaptureFixture) -> None:
    settings: dict[str, Any] = {"optimizer": partial(torch.optim.SGD, lr=0.1)}
    points = [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]
    OcclusionModule(network(), occluder=HalfBlackOut("lower"), **settings)
    OcclusionModule(network(), occluder=SurgicalMask(), points=points, **settings)
    assert not caplog.records
    OcclusionModule(network(), occluder=SurgicalMask(), **settings)
    assert "SurgicalMask draws by points, and points is null: in every face a half is blacked out" in caplog.text
