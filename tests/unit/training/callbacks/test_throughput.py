"""speed/*: rates from a clock of our own, FLOPs against the known counts, no trace left on the model."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn

from transface.backbones.face_vit import FaceViT, face_vit_t
from transface.classifiers.full_softmax import FullSoftmax
from transface.margins.arcface import ArcFace
from transface.systems.recognition.module import RecognitionModule
from transface.training.callbacks.throughput import Throughput, seconds_left
from transface.training.flops import forward_flops


def test_flops_of_a_backbone_are_twice_its_multiply_adds() -> None:
    assert forward_flops(face_vit_t(), torch.zeros(1, 3, 112, 112)) / 2e9 == pytest.approx(1.50, rel=0.01)


def test_flops_of_a_linear_layer_are_counted_by_hand() -> None:
    assert forward_flops(nn.Linear(5, 7), torch.zeros(3, 5)) == 2 * 3 * 5 * 7


def test_counting_leaves_the_model_and_the_random_state_as_they_were() -> None:
    backbone = FaceViT(36, 9, embed_dim=16, depth=2, num_heads=2, embedding_size=16, drop_path_rate=0.2).train()
    backbone.neck.eval()
    flags = [module.training for module in backbone.modules()]
    buffers = {name: value.clone() for name, value in backbone.named_buffers()}
    state = torch.get_rng_state()
    forward_flops(backbone, torch.zeros(2, 3, 36, 36))
    assert [module.training for module in backbone.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, buffers[name]) for name, value in backbone.named_buffers())


class Kept(DummyLogger):
    """A logger that keeps its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((step, metrics))


def walk(
    callback: Throughput, *, ticks: list[tuple[float, float]], world_size: int = 1, **trainer_settings: Any
) -> list[tuple[int, dict[str, float]]]:
    """Drive the callback through batches of 4 images that start and end at the given times; return what it logged."""
    logger = Kept()
    trainer: Any = SimpleNamespace(
        loggers=[logger],
        world_size=world_size,
        global_step=0,
        estimated_stepping_batches=100,
        accumulate_grad_batches=1,
        log_every_n_steps=10,
        precision="32-true",
    )
    trainer.__dict__.update(trainer_settings)
    times = iter([0.0, *(moment for tick in ticks for moment in tick)])
    callback.clock = lambda: next(times)
    network = FaceViT(36, 9, embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    classifier = FullSoftmax(10, 8, ArcFace())
    module = RecognitionModule(network, classifier, optimizer=partial(torch.optim.SGD, lr=0.1))
    callback.on_train_start(trainer, module)
    batch = (torch.zeros(4, 3, 8, 8),)
    for index in range(len(ticks)):
        callback.on_train_batch_start(trainer, module, batch, index)
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, module, None, batch, index)
    return logger.rows


def test_rates_are_means_over_the_window() -> None:
    ticks = [(0.5, 1.0), (1.0, 2.0), (3.0, 4.0), (4.0, 5.0)]
    rows = walk(Throughput(every_n_steps=2), ticks=ticks)
    assert [step for step, _ in rows] == [2, 4]
    first, second = rows[0][1], rows[1][1]
    assert first.pop("speed/memory_mib") > 50  # of this process, which holds torch
    assert first == {
        "speed/seconds": 2.0,
        "speed/images_per_second": 4.0,
        "speed/data_wait_share": 0.25,
        "speed/seconds_left": 98.0,
    }
    assert second["speed/data_wait_share"] == pytest.approx(1 / 3)
    assert second["speed/images_per_second"] == pytest.approx(8 / 3)


def test_a_trainer_that_logs_nothing_gets_no_rows() -> None:
    ticks = [(float(index), index + 0.5) for index in range(20)]
    assert walk(Throughput(), ticks=ticks, log_every_n_steps=0) == []
    assert len(walk(Throughput(every_n_steps=5), ticks=ticks, log_every_n_steps=0)) == 4


def test_all_devices_count_and_accumulated_batches_are_steps_yet_to_come() -> None:
    rows = walk(Throughput(every_n_steps=1), ticks=[(0.0, 2.0)], world_size=3, accumulate_grad_batches=4)
    assert rows[0][1]["speed/images_per_second"] == 6.0
    assert rows[0][1]["speed/seconds_left"] == 99 * 4 * 2.0


def test_mfu_is_model_flops_over_the_peak_of_all_devices() -> None:
    rows = walk(Throughput(every_n_steps=1, peak_tflops=1e-3), ticks=[(0.0, 2.0)], world_size=2)
    backbone = FaceViT(36, 9, embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    per_image = 3 * (forward_flops(backbone, torch.zeros(1, 3, 36, 36)) + 2 * 10 * 8)
    # 4 images a device in 2 seconds, on a device of 1e9 operations a second
    assert rows[0][1]["speed/mfu"] == pytest.approx(per_image * 2 / 1e9)


def test_no_mfu_without_a_known_peak_and_no_time_left_without_an_end() -> None:
    rows = walk(Throughput(every_n_steps=1), ticks=[(0.0, 2.0)], estimated_stepping_batches=float("inf"))
    assert set(rows[0][1]) == {"speed/seconds", "speed/images_per_second", "speed/data_wait_share", "speed/memory_mib"}
    ended: Any = SimpleNamespace(estimated_stepping_batches=5, global_step=9, accumulate_grad_batches=1)
    assert seconds_left(ended, 3.0) == 0


def test_a_window_of_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="every_n_steps must be at least 1, got 0"):
        Throughput(every_n_steps=0)


def test_a_run_logs_its_speed(train: Callable[..., Any], make_module: Callable[..., Any]) -> None:
    logger = Kept()

    class Attach(Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.loggers = [logger]

    train(make_module(), [Attach(), Throughput(every_n_steps=3, peak_tflops=1.0)], steps=7)
    rows = [(step, row) for step, row in logger.rows if "speed/mfu" in row]
    assert [step for step, _ in rows] == [3, 6]
    assert all(0 < row["speed/mfu"] < 1 and 0 <= row["speed/data_wait_share"] < 1 for _, row in rows)


def test_the_time_left_ends_with_the_time_budget() -> None:
    class MostlyGone(Timer):
        def time_remaining(self, stage: Any = None) -> float:
            return 30.0

    timer = MostlyGone(duration={"seconds": 100})
    trainer: Any = SimpleNamespace(
        callbacks=[timer], estimated_stepping_batches=1000, global_step=100, accumulate_grad_batches=1
    )
    assert seconds_left(trainer, 1.0) == 30
    assert seconds_left(trainer, 0.01) == pytest.approx(9)
    trainer.estimated_stepping_batches = float("inf")
    assert seconds_left(trainer, 1.0) == 30
    trainer.callbacks = []
    assert seconds_left(trainer, 1.0) is None
