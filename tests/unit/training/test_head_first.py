"""Fine-tuning of a recognition model: the class centres learn alone first, and the backbone at its own rate."""

from typing import Any

import lightning
import pytest
import torch


class States(lightning.Callback):
    """Keeps the weights after every step."""

    def __init__(self) -> None:
        self.after: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.after.append({name: value.clone() for name, value in pl_module.state_dict().items()})


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_head_learns_alone_for_the_first_epochs(
    make_module: Any, train: Any, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On several ranks the backbone's gradients are made and dropped, because DDP waits for them: the same numbers."""
    fresh = {name: value.clone() for name, value in make_module().state_dict().items()}
    train(make_module(head_first_epochs=1), [wanted := States()], steps=7)
    monkeypatch.setattr("transface.systems.recognition.module.world_size", lambda: ranks)
    train(module := make_module(head_first_epochs=1), [found := States()], steps=7)  # five steps an epoch
    for name, value in found.after[4].items():
        assert torch.equal(value, fresh[name]) == name.startswith("network."), name
    assert any(not torch.equal(found.after[6][name], fresh[name]) for name in fresh if name.startswith("network."))
    assert all(torch.equal(value, wanted.after[6][name]) for name, value in found.after[6].items())
    assert module.network.training


def test_the_backbone_may_learn_at_a_share_of_the_rate(make_module: Any, train: Any) -> None:
    module = make_module(backbone_lr_factor=0.1)
    train(module, [], steps=1)
    rates = {group["lr"] for group in module.trainer.optimizers[0].param_groups}
    assert sorted(rates) == pytest.approx([1e-4, 1e-3])  # also without a schedule


@pytest.mark.parametrize("settings", [{"backbone_lr_factor": 0.0}, {"head_first_epochs": -1.0}])
def test_rates_and_lengths_that_cannot_be_are_refused(make_module: Any, settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backbone_lr_factor must be above 0"):
        make_module(**settings)


def test_a_head_that_learns_alone_to_the_end_is_refused(make_module: Any, train: Any) -> None:
    with pytest.raises(ValueError, match="is the whole run of 5 steps"):
        train(make_module(head_first_epochs=1), [], steps=5)
