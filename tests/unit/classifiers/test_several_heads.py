"""Several heads: each set against its own people, weights, one set as the run of before, names that must match."""

from functools import partial
from typing import Any

import pytest
import torch

from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.classifiers.several_heads import SeveralHeads
from transface.data.augment.mixup import Mixup
from transface.data.batches import FaceBatch
from transface.margins.adaface import AdaFace
from transface.margins.cosface import CosFace
from transface.systems.recognition.ehsm import EHSM
from transface.systems.recognition.module import RecognitionModule
from transface.training.optimization.optimizers import AdamW
from transface.training.parallel.sharded_ddp import sharded_parameter_names

SIZES = {"a": 5, "b": 3}


def heads(people: dict[str, int] | None = None, kind: type = PartialFC, **settings: Any) -> SeveralHeads:
    found = {"a": 7, "b": 4} if people is None else people
    return SeveralHeads(found, partial(kind, embedding_size=8), CosFace(16.0), seed=3, **settings)


def module_with(classifier: torch.nn.Module, **parts: Any) -> RecognitionModule:
    torch.manual_seed(0)
    backbone = FaceViT(36, 9, embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    module = RecognitionModule(backbone, classifier, optimizer=partial(AdamW, lr=1e-3), **parts)
    module.log_dict = lambda *a, **k: None  # type: ignore[method-assign]
    return module


def faces(count: int, people: int, seed: int) -> FaceBatch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 36, 36), generator=generator).to(torch.uint8)
    return FaceBatch(images, torch.randint(people, (count,), generator=generator), torch.arange(count))


@pytest.mark.parametrize("kind", [FullSoftmax, PartialFC])
def test_each_set_is_told_apart_among_its_own_people(kind: type) -> None:
    model = heads(kind=kind)
    embeddings = torch.randn(8, 8)
    labels = torch.tensor([0, 6, 2, 2, 5, 3, 0, 1])
    found = model(embeddings, labels, sizes=SIZES)
    for name, part in (("a", slice(0, 5)), ("b", slice(5, 8))):
        assert torch.equal(found[name], model.heads[name](embeddings[part], labels[part]))
    assert (model.num_identities, model.embedding_size) == (11, 8)
    alone = kind(7, 8, CosFace(16.0), seed=3)
    assert torch.equal(model.heads["a"].centers, alone.centers)
    assert not torch.equal(model.heads["a"].centers[:4], model.heads["b"].centers)


def test_margins_are_copies_with_running_numbers_of_their_own() -> None:
    model = SeveralHeads({"a": 7, "b": 4}, partial(PartialFC, embedding_size=8), AdaFace(16.0))
    model(torch.randn(8, 8), torch.zeros(8, dtype=torch.int64), sizes=SIZES)
    states = [dict(head.margin.named_buffers()) for head in model.heads.values()]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("weighting", [None, EHSM()])
def test_one_set_of_weight_one_is_the_run_of_before_to_the_bit(weighting: EHSM | None) -> None:
    batch, losses, gradients = faces(6, 7, 1), [], []
    for classifier, given in ((PartialFC(7, 8, CosFace(16.0), seed=3), batch), (heads({"a": 7}), {"a": batch})):
        module = module_with(classifier, weighting=weighting)
        loss = module.losses(given, torch.Generator().manual_seed(7)).total()
        loss.backward()
        losses.append(loss)
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    assert torch.equal(*losses)
    assert torch.equal(*gradients)


def test_the_loss_is_the_weighted_sum_of_the_sets_means() -> None:
    batch = {"a": faces(5, 7, 1), "b": faces(3, 4, 2)}
    for weights, expected in ((None, {"a": 5 / 8, "b": 3 / 8}), ({"a": 0.7, "b": 0.1}, {"a": 0.7, "b": 0.1})):
        module = module_with(heads(weights=weights), flip_probability=0.0)
        found = module.losses(batch, torch.Generator().manual_seed(7))
        total = sum(expected[name] * found.terms[f"margin/{name}"] for name in batch)
        torch.testing.assert_close(found.total(), total)
        assert found.num_samples == 8


def test_every_head_s_centres_are_sharded_and_saved_under_their_names() -> None:
    assert sharded_parameter_names(module_with(heads())) == ["classifier.heads.a.centers", "classifier.heads.b.centers"]


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one data set"):
        heads({})
    with pytest.raises(ValueError, match="weights must name the sets"):
        heads(weights={"a": 1.0})
    with pytest.raises(ValueError, match=r"must hold the sets \['a', 'b'\]"):
        heads()(torch.randn(5, 8), torch.zeros(5, dtype=torch.int64), sizes={"a": 5})
    with pytest.raises(ValueError, match="classifier=several_heads"):
        module_with(FullSoftmax(7, 8, CosFace())).losses({"a": faces(3, 7, 1)}, torch.Generator())
    with pytest.raises(ValueError, match="neither with mixup"):
        module_with(heads(), mixup=Mixup())
