"""Ranks wait for each other at the start longer than in a collective."""

import datetime
from typing import Any

import pytest
from lightning.pytorch.strategies import DDPStrategy

from transface.training.parallel import sharded_ddp
from transface.training.parallel.sharded_ddp import MEETING, ShardedDDPStrategy


@pytest.mark.parametrize("seconds", [15, 3600])
def test_a_short_wait_in_collectives_is_not_that_of_the_start(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    wait, met, held = datetime.timedelta(seconds=seconds), [], []
    monkeypatch.setattr(DDPStrategy, "setup_distributed", lambda strategy: met.append(strategy._timeout))
    monkeypatch.setattr(sharded_ddp.dist, "set_timeout", held.append, raising=False)
    strategy: Any = ShardedDDPStrategy(timeout=wait)
    strategy.setup_distributed()
    assert met == [max(wait, MEETING)]
    assert held == ([wait] if wait < MEETING else [])
    assert strategy._timeout == wait
