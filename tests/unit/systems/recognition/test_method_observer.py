"""MethodObserver: looks at the steps it was told to, logs every quantity, and training continues as if it were not
there.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.data.batches import FaceBatch
from transface.margins.cosface import CosFace
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.ehsm import EHSM
from transface.systems.recognition.method_observer import MethodObserver, summary
from transface.systems.recognition.method_view import MethodView, look
from transface.systems.recognition.module import RecognitionModule
from transface.training.flops import forward_flops
from transface.training.trainer import make_trainer


class Faces(Dataset):
    def __len__(self) -> int:
        return 24

    def __getitems__(self, indices: list[int]) -> FaceBatch:
        keys = torch.tensor(indices)
        generator = torch.Generator().manual_seed(1)
        return FaceBatch(
            torch.randint(0, 256, (24, 3, 36, 36), generator=generator, dtype=torch.uint8)[keys], keys % 5, keys
        )


class Kept(DummyLogger):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if any(name.startswith("method/") for name in metrics):
            self.rows.append((step or 0, metrics))


class Attach(Callback):
    def __init__(self, logger: Kept) -> None:
        self.logger = logger

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        trainer.loggers = [self.logger]


def first(batch: FaceBatch) -> FaceBatch:
    return batch


def train(callbacks: list[Callback], *, steps: int = 6, **settings: Any) -> RecognitionModule:
    torch.manual_seed(3)
    backbone = FaceViT(36, 9, embed_dim=16, depth=2, num_heads=2, embedding_size=8, drop_path_rate=0.2)
    classifier = FullSoftmax(5, 8, CosFace(scale=16.0, margin=0.2))
    module = RecognitionModule(
        backbone, classifier, perturbation=DPAP(3, 0.5), weighting=EHSM(), optimizer=partial(torch.optim.AdamW, lr=1e-3)
    )
    loader: Any = DataLoader(Faces(), batch_size=8, collate_fn=first)
    trainer = make_trainer(
        callbacks=callbacks,
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        **settings,
    )
    trainer.fit(module, loader)
    return module


def test_it_looks_at_the_steps_it_was_told_to(tmp_path: Path) -> None:
    views: list[MethodView] = []

    def paint(view: MethodView) -> dict[str, bytes]:
        views.append(view)
        return {"faces": b"a picture"}

    logger = Kept()
    observer = MethodObserver(tmp_path, every_n_steps=2, pictures_every_n_steps=4, num_faces=3, painter=paint)
    train([Attach(logger), observer])
    assert [step for step, _ in logger.rows] == [0, 2, 4]
    quantities = ("token_entropy", "gate", "ehsm_weight", "center_cosine", "embedding_norm")
    assert set(logger.rows[0][1]) == {f"method/{name}_{part}" for name in quantities for part in ("mean", "spread")}
    assert sorted(path.name for path in (tmp_path / "faces").iterdir()) == ["step-000000000.png", "step-000000004.png"]
    assert all(len(view.images) == 3 for view in views)


def test_accumulated_batches_of_a_step_are_looked_at_once(tmp_path: Path) -> None:
    logger = Kept()
    train(
        [Attach(logger), MethodObserver(tmp_path, every_n_steps=1, pictures_every_n_steps=1)],
        steps=3,
        accumulate_grad_batches=2,
    )
    assert [step for step, _ in logger.rows] == [0, 1, 2]


def test_training_is_the_same_with_and_without_it(tmp_path: Path) -> None:
    with_it = train([Attach(Kept()), MethodObserver(tmp_path, every_n_steps=1, pictures_every_n_steps=1)])
    without = train([])
    for name, value in without.state_dict().items():
        assert torch.equal(value, with_it.state_dict()[name]), name


def test_summary_is_mean_and_spread() -> None:
    metrics = summary({"gate": torch.tensor([1.0, 2.0, 3.0, 6.0])})
    assert metrics["method/gate_mean"] == 3.0
    assert metrics["method/gate_spread"] == pytest.approx((14 / 4) ** 0.5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"every_n_steps": 0}, "at least 1"),
        ({"num_faces": 0}, "at least 1"),
        ({"every_n_steps": 3, "pictures_every_n_steps": 10}, "multiple of every_n_steps=3"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int], said: str) -> None:
    make: Callable[..., MethodObserver] = MethodObserver
    with pytest.raises(ValueError, match=said):
        make("folder", **settings)


def test_a_look_costs_less_than_a_fiftieth_of_the_steps_between_two() -> None:
    """In operations, which no busy machine changes: forward of the faces looked at and DPAP's scoring, against forward
    and backward of a batch.
    """
    backbone = FaceViT(112, 9, embed_dim=32, depth=2, num_heads=2, embedding_size=32)
    observer = MethodObserver("unused")
    images = torch.zeros(observer.num_faces, 3, 112, 112, dtype=torch.uint8)
    with FlopCounterMode(display=False) as looking:
        look(
            images,
            torch.zeros(observer.num_faces, dtype=torch.int64),
            backbone=backbone,
            perturbation=DPAP(),
            weighting=EHSM(),
        )
    step = 3 * forward_flops(backbone, torch.zeros(observer.num_faces, 3, 112, 112))
    assert 0 < looking.get_total_flops() / (observer.every_n_steps * step) < 0.02
