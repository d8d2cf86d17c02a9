"""UniTSFace: the bank of latest embeddings, its first epoch, what is unseen, saving and resuming."""

import copy

import pytest
import torch
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.classifiers.unitsface import UniTSFace
from transface.margins.cosface import CosFace

C, E = 7, 5


def head(kind: type = FullSoftmax, **settings: object) -> UniTSFace:
    return UniTSFace(kind(C, E, CosFace(16.0, 0.2)), scale=16.0, **settings).double()


def batch(seed: int, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, E, generator=generator, dtype=torch.float64)
    return embeddings.requires_grad_(), torch.randint(C, (count,), generator=generator)


@pytest.mark.parametrize("kind", [FullSoftmax, PartialFC])
def test_the_first_epoch_is_the_classifier_s_loss_and_fills_the_bank(kind: type) -> None:
    model = head(kind)
    embeddings, labels = batch(1)
    assert torch.equal(model(embeddings, labels), model.classifier(embeddings, labels))
    model.write_remembered()
    for c in range(C):
        rows = (labels == c).nonzero()[:, 0]
        assert bool(model.is_seen[c]) == bool(len(rows))
        if len(rows):
            assert torch.equal(model.bank[c], embeddings[rows[-1]].detach())
    assert model.threshold_loss.threshold == 0


def test_later_the_loss_against_seen_classes_is_added_and_is_the_formula() -> None:
    model = head(bank_weight=0.5)
    model(*batch(1))
    model.follow(step=1, epoch=1)
    embeddings, labels = batch(2)
    bank, seen = copy.deepcopy(model).state_dict()["bank"], copy.deepcopy(model).state_dict()["is_seen"]
    found = model(embeddings, labels)
    assert 0 < seen.sum() < C
    cosines = F.normalize(embeddings) @ F.normalize(bank).T
    own = F.one_hot(labels, C).bool()
    others = (16 * cosines).masked_fill(own | ~seen, -torch.inf)
    b = others.logsumexp(1).mean()
    torch.testing.assert_close(model.threshold_loss.threshold.detach(), b.detach())
    plain = F.softplus((16 * cosines - b).clamp(-16, 16)).masked_fill(own | ~seen, 0).sum(1)
    target = F.softplus(-(16 * (cosines.gather(1, labels[:, None])[:, 0] - 0.1) - b).clamp(-16, 16))
    added = torch.where(seen[labels], plain + target, 0.0)
    torch.testing.assert_close(found, model.classifier(embeddings, labels) + 0.5 * added)


def test_the_bank_gets_no_gradient_and_the_threshold_does() -> None:
    model = head(bank_from_epoch=0)
    model.bank.normal_()
    model.is_seen.fill_(True)
    embeddings, labels = batch(3)
    model(embeddings, labels).sum().backward()
    assert model.bank.grad is None
    assert model.threshold_loss.threshold.grad.abs() > 0
    assert embeddings.grad.abs().max() > 0


def test_what_is_saved_goes_on_as_if_it_had_not_been() -> None:
    model = head()
    model(*batch(1))
    other = head()
    other.load_state_dict(model.state_dict())
    for step in (2, 3, 4):
        losses = []
        for one in (model, other):
            one.follow(step=step, epoch=1)
            losses.append(one(*batch(step)))
        assert torch.equal(*losses)
    assert torch.equal(model.state_dict()["bank"], other.state_dict()["bank"])


def test_nothing_moves_in_eval() -> None:
    model = head(bank_from_epoch=0)
    model(*batch(1))
    before = copy.deepcopy(model.state_dict())
    model.eval()(*batch(2))
    assert all(
        torch.equal(value, before[name]) for name, value in model.state_dict().items() if hasattr(value, "shape")
    )


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="bank_weight"):
        head(bank_weight=-1.0)
    with pytest.raises(ValueError, match="bank_from_epoch"):
        head(bank_from_epoch=-1)


def test_a_bank_that_a_run_never_comes_to_is_told() -> None:
    module = UniTSFace(FullSoftmax(4, 3, CosFace(16.0, 0.2)), bank_from_epoch=2)
    assert module.unreached(steps=99, epochs=2) == ["the loss against the bank begins from epoch 2"]
    assert module.unreached(steps=99, epochs=3) == []
