"""transface.training.checkpoints.writer: whole or not there, the newest and the best kept, refused with one clear
line.
"""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from transface.backbones.weights.files import network_weights
from transface.training.callbacks.early_stopping import EarlyStopping
from transface.training.checkpoints.reader import (
    check_same_architecture,
    complete_checkpoints,
    find_checkpoint,
    read_checkpoint,
)
from transface.training.checkpoints.writer import CheckpointWriter


def test_steps_are_saved_and_the_oldest_dropped(make_module: Any, train: Any, tmp_path: Path) -> None:
    train(make_module(), [CheckpointWriter(tmp_path, every_n_steps=2, keep=2)], steps=7)
    assert [p.name for p in complete_checkpoints(tmp_path)] == ["step-000000006", "step-000000007"]
    assert find_checkpoint(tmp_path).parent.name == "step-000000007"
    assert not list(tmp_path.glob("*.writing"))


def test_a_half_written_checkpoint_is_never_found(tmp_path: Path) -> None:
    (tmp_path / "step-000000003.writing").mkdir()
    (tmp_path / "step-000000003.writing" / "trainer.ckpt").write_bytes(b"half")
    assert complete_checkpoints(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        find_checkpoint(tmp_path)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "bad.ckpt"
    torch.save({"state_dict": Bomb()}, path)
    with pytest.raises(ValueError, match="not a checkpoint that can be opened safely"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_another_architecture_is_named(make_module: Any) -> None:
    own = network_weights({"state_dict": make_module().state_dict()})
    other = {name: value for name, value in own.items() if "blocks.1" not in name}
    with pytest.raises(ValueError, match=r"x.ckpt is a checkpoint of another architecture: it lacks blocks\.1"):
        check_same_architecture(own, other, where="x.ckpt")
    grown = {name: torch.zeros(5, *value.shape) for name, value in own.items()}
    with pytest.raises(ValueError, match="instead of"):
        check_same_architecture(own, grown, where="x.ckpt")
    check_same_architecture(own, dict(own), where="x.ckpt")


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        CheckpointWriter(tmp_path, every_n_steps=0)


@pytest.mark.parametrize("kind", [partial(CheckpointWriter, "checkpoints"), EarlyStopping])
def test_the_best_of_another_metric_is_not_held_against_this_one(kind: Callable[..., Any]) -> None:
    accuracy = kind(mode="max")
    accuracy.load_state_dict(
        {**accuracy.state_dict(), "best_value": 0.9, "best_step": 4, "best": 0.9, "misses": 3, "judged_step": 4}
    )
    assert 0.9 in accuracy.state_dict().values()
    again = kind(mode="max")
    again.load_state_dict(accuracy.state_dict())
    assert again.state_dict() == accuracy.state_dict()
    for other in (kind(monitor="train/loss", mode="min"), kind(mode="min")):
        fresh = other.state_dict()
        other.load_state_dict(accuracy.state_dict())
        assert other.state_dict() == fresh, "no loss is above an accuracy: the first would stay the best for ever"
