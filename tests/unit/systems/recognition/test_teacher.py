"""A recognition teacher: frozen, unsaved, of any width; the student sees the changed faces, the teacher the whole
ones.
"""

from functools import partial

import pytest
import torch

from transface.backbones.headed import HeadedNetwork
from transface.backbones.mobilefacenet import MobileFaceNet
from transface.classifiers.full_softmax import FullSoftmax
from transface.data.augment.occluders import OccluderAugmentation
from transface.data.augment.surgical_mask import SurgicalMask
from transface.data.batches import FaceBatch
from transface.margins.cosface import CosFace
from transface.systems.recognition.module import RecognitionModule
from transface.systems.recognition.teacher import RecognitionTeacher


def module(teacher: RecognitionTeacher | None) -> RecognitionModule:
    torch.manual_seed(0)
    return RecognitionModule(
        MobileFaceNet(embedding_size=32),
        FullSoftmax(4, embedding_size=32, margin=CosFace(scale=16.0, margin=0.1)),
        augmentation=OccluderAugmentation(SurgicalMask(), probability=1.0),
        distillation=teacher,
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )


def batch() -> FaceBatch:
    images = torch.randint(0, 256, (4, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return FaceBatch(images, torch.arange(4), torch.arange(4))


def test_the_teacher_sees_whole_faces_and_is_no_part_of_what_is_trained_or_saved() -> None:
    torch.manual_seed(1)
    network, seen = MobileFaceNet(embedding_size=48), []
    own = module(RecognitionTeacher(network, student_size=32, weight=2.0))
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = own.losses(batch(), torch.Generator().manual_seed(0))
    found.total().backward()
    assert float(found.total()) == pytest.approx(
        float(found.terms["margin"]) + 2 * float(found.terms["distillation"]), rel=1e-5
    )
    assert any(
        torch.allclose(seen[0][0], one)
        for one in (batch().images[0] / 127.5 - 1, (batch().images[0] / 127.5 - 1).flip(-1))
    )
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert [name for name in own.state_dict() if name.startswith("distillation")] == ["distillation.projector.weight"]
    grouped = {id(p) for group in own.parameter_groups() for p in group["params"]}
    assert id(own.distillation.projector.weight) in grouped  # type: ignore[union-attr]
    assert not grouped & {id(p) for p in network.parameters()}


def test_the_margin_kind_takes_the_people_of_the_batch_into_account() -> None:
    torch.manual_seed(1)
    teacher = RecognitionTeacher(MobileFaceNet(embedding_size=32), student_size=32, kind="margin", margin=0.2)
    embeddings, whole = torch.randn(4, 32), torch.rand(4, 3, 112, 112)
    apart = teacher(embeddings, whole, torch.arange(4))
    same = teacher(embeddings, whole, torch.zeros(4, dtype=torch.long))
    assert float(apart) > float(same) == 0.0
    with pytest.raises(ValueError, match="are of kind=margin, got kind=cosine"):
        RecognitionTeacher(MobileFaceNet(embedding_size=8), student_size=8, margin=0.2)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="weight must be"):
        RecognitionTeacher(MobileFaceNet(embedding_size=8), student_size=8, weight=-1.0)
    with pytest.raises(ValueError, match="kind must be"):
        RecognitionTeacher(MobileFaceNet(embedding_size=8), student_size=8, kind="other")  # type: ignore[arg-type]


def test_a_teacher_given_by_path_is_opened_before_training() -> None:
    network = MobileFaceNet(embedding_size=8).eval()
    asked: list[str] = []

    def open_model(path: str) -> torch.nn.Module:
        asked.append(path)
        return network

    teacher = RecognitionTeacher({"path": "runs/large"}, student_size=32)
    with pytest.raises(RuntimeError, match="the teacher runs/large is not open"):
        teacher(torch.zeros(2, 32), torch.zeros(2, 3, 112, 112))
    own = module(teacher)
    own.open_models(open_model)
    own.open_models(open_model)
    assert asked == ["runs/large"]
    assert teacher.teacher is network
    assert [tuple(parameter.shape) for parameter in own.parameter_groups()[-1]["params"]] == [(8, 32)]
    assert not any(name.startswith("distillation._teacher") for name in own.state_dict())


def test_a_teacher_without_an_embedding_is_refused_by_what_it_answers() -> None:
    network = HeadedNetwork(MobileFaceNet(embedding_size=48), {"smile": {"kind": "one_of", "names": ["no", "yes"]}})
    with pytest.raises(ValueError, match="HeadedNetwork answers smile and gives no embedding"):
        RecognitionTeacher(network, student_size=32)
