"""transface.training.callbacks.failure_guards: a loss that is no number ends the run and leaves its batch."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transface.training.callbacks.failure_guards import NonFiniteGuard, NonFiniteLossError, StuckLossHint


class TurnsBad(nn.Module):
    """A weighting that gives NaN from its third call on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        return torch.full((len(tokens),), float("nan") if self.calls >= 3 else 1.0)


def test_a_nan_loss_stops_with_step_and_rate_and_keeps_the_batch(make_module: Any, train: Any, tmp_path: Path) -> None:
    module = make_module(weighting=TurnsBad())
    with pytest.raises(NonFiniteLossError, match=r"loss is nan at step 2 .*learning rate 0.001"):
        train(module, [NonFiniteGuard(tmp_path)])
    kept = torch.load(tmp_path / "offending-batch-rank0.pt", weights_only=True)
    assert kept["step"] == 2
    assert kept["images"].shape == (8, 3, 36, 36)
    assert kept["keys"].tolist() == list(range(16, 24))


def test_a_nan_loss_is_told_also_where_its_batch_cannot_be_kept(make_module: Any, train: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NonFiniteLossError, match=r"loss is nan at step 2 .*could not be written to .*file.*Lower"):
        train(make_module(weighting=TurnsBad()), [NonFiniteGuard(tmp_path / "file")])


def test_the_weights_have_not_moved_on_a_nan_loss(make_module: Any, train: Any, tmp_path: Path) -> None:
    module = make_module(weighting=TurnsBad())
    with pytest.raises(NonFiniteLossError):
        train(module, [NonFiniteGuard(tmp_path)])
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_a_good_run_is_left_alone(make_module: Any, train: Any, tmp_path: Path) -> None:
    train(make_module(), [NonFiniteGuard(tmp_path)], steps=3)
    assert not list(tmp_path.iterdir())


def test_a_stuck_loss_is_hinted_once(make_module: Any, train: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(make_module(), [StuckLossHint(patience_steps=2, smallest_fall=0.99)])
    assert sum("has not fallen" in record.message for record in caplog.records) == 1
