"""Validation inside training comes at the chosen steps, reaches loggers and checkpoints, and leaves the training as it
would have been.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.cli.screen import measure_tables
from transface.data.batches import FaceBatch
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.recognition.pair_sets import PairSets
from transface.evaluation.results import Measure, Result, format_measure
from transface.evaluation.validation import ProtocolValidation, directions_of, logged_values
from transface.margins.cosface import CosFace
from transface.systems.recognition.module import RecognitionModule
from transface.training.checkpoints.writer import CheckpointWriter
from transface.training.optimization.optimizers import AdamW
from transface.training.trainer import make_trainer


class NoiseFaces(Dataset):
    """Twelve images of four people."""

    def __len__(self) -> int:
        return 12

    def __getitems__(self, indices: list[int]) -> FaceBatch:
        images = torch.randint(0, 256, (12, 3, 112, 112), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
        keys = torch.tensor(indices)
        return FaceBatch(images[keys], keys % 4, keys)


class Memo(DummyLogger):
    """Keeps what is logged of validation, by step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if any(name.startswith("val/") for name in metrics):
            assert step is not None
            self.steps[step] = metrics


def as_is(batch: FaceBatch) -> FaceBatch:
    return batch


def train(callbacks: list[Any], **settings: Any) -> tuple[lightning.Trainer, RecognitionModule, Memo]:
    torch.manual_seed(3)
    backbone = FaceViT(112, 28, embed_dim=16, depth=1, num_heads=2, embedding_size=16, drop_path_rate=0.3)
    module = RecognitionModule(
        backbone, FullSoftmax(4, 16, CosFace(scale=16.0, margin=0.2)), optimizer=partial(AdamW, lr=1e-3)
    )
    memo = Memo()
    loader: DataLoader[Tensor] = DataLoader(NoiseFaces(), batch_size=4, collate_fn=as_is)  # three steps an epoch
    settings = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "logger": memo,
        "enable_progress_bar": False,
    } | settings
    ckpt_path = settings.pop("ckpt_path", None)
    trainer = make_trainer(callbacks=callbacks, **settings)
    trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return trainer, module, memo


@pytest.fixture
def pairs(pair_file: Callable[..., Path]) -> Path:
    return pair_file("made", num_pairs=20)


@pytest.mark.parametrize(
    ("when", "settings", "expected"),
    [
        ({"every_n_epochs": 1}, {}, [3, 6]),
        ({"every_n_epochs": 2}, {}, [6]),
        ({"every_n_epochs": None, "every_n_steps": 2}, {}, [2, 4, 6]),
        ({"every_n_epochs": 1, "every_n_steps": 2}, {}, [2, 3, 4, 6]),
        ({"every_n_epochs": None, "every_n_steps": 4}, {"max_steps": 5, "max_epochs": None}, [4, 5]),
        ({"every_n_epochs": 1}, {"accumulate_grad_batches": 3}, [1, 2]),
        ({"every_n_epochs": None, "every_n_steps": None}, {}, []),
    ],
    ids=str,
)
def test_it_comes_at_the_chosen_steps(
    pairs: Path, when: dict[str, Any], settings: dict[str, Any], expected: list[int]
) -> None:
    trainer, module, memo = train([ProtocolValidation([PairSets([pairs])], **when)], **settings)
    assert sorted(memo.steps) == expected
    assert module.validated_at == (expected[-1] if expected else -1)
    assert trainer.global_step == 5 if "max_steps" in settings else True


class End(lightning.Callback):
    """Ends training after a step, as a time budget does."""

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == 4


def test_an_end_that_comes_early_is_validated_and_may_be_the_best(pairs: Path, tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path / "checkpoints", every_n_steps=1)
    trainer, module, memo = train([ProtocolValidation([PairSets([pairs])], every_n_epochs=2), End(), writer])
    assert trainer.global_step == module.validated_at == writer.best_step == 4
    assert list(memo.steps) == [4]
    assert (tmp_path / "checkpoints" / "best").resolve().name == "step-000000004"
    assert not list((tmp_path / "checkpoints").glob("*.writing"))


class Kept(ProtocolValidation):
    """Keeps the results of every validation."""

    def validate(self, trainer: lightning.Trainer, pl_module: Any, **settings: Any) -> None:
        super().validate(trainer, pl_module, **settings)
        self.kept = [*getattr(self, "kept", []), (trainer.global_step, self.results[0])]


def test_only_the_last_weights_have_whole_results(pairs: Path) -> None:
    """Decisions are what paired tests between runs need; on the way they would cost time for nothing."""
    validation = Kept([PairSets([pairs])], every_n_epochs=1)
    train([validation])
    (first, brief), (last, whole) = validation.kept
    assert (first, last) == (3, 6)
    assert brief.measure("accuracy").low is None
    assert not brief.samples_hash
    assert whole.measure("accuracy").low is not None
    assert whole.samples_hash
    assert whole.arrays["correct"].shape == (20,)


def test_an_end_nobody_foresaw_gets_whole_results_and_no_second_row(pairs: Path) -> None:
    validation = Kept([PairSets([pairs])], every_n_steps=2, every_n_epochs=None)
    _, _, memo = train([validation, End()])
    assert [step for step, _ in validation.kept] == [2, 4, 4]
    assert sorted(memo.steps) == [2, 4]
    assert [bool(result.samples_hash) for _, result in validation.kept] == [False, False, True]
    assert validation.kept[1][1].measure("accuracy").value == validation.kept[2][1].measure("accuracy").value


def test_a_run_resumed_after_its_end_is_validated_without_a_second_row(pairs: Path, tmp_path: Path) -> None:
    _, before, _ = train([CheckpointWriter(tmp_path / "checkpoints")])
    validation = ProtocolValidation([PairSets([pairs])])
    trainer, module, memo = train([validation], ckpt_path=tmp_path / "checkpoints" / "last" / "trainer.ckpt")
    assert (trainer.global_step, module.validated_at, validation.results) == (6, -1, [])
    validation.validate_after_all(trainer, module)
    assert module.validated_at == 6
    assert memo.steps == {}
    expected = PairSets([pairs]).evaluate(Embedder(before.backbone, progress=False), detailed=False)[0]
    assert float(trainer.callback_metrics["val/mean/accuracy"]) == pytest.approx(expected.measure("accuracy").value)
    validation.results = []
    validation.validate_after_all(trainer, module)
    assert validation.results == []


def test_training_goes_on_as_if_nothing_had_been_measured(pairs: Path) -> None:
    _, watched, memo = train([ProtocolValidation([PairSets([pairs])], every_n_steps=1)])
    _, alone, _ = train([])
    assert len(memo.steps) == 6
    for name, value in alone.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    assert watched.backbone.training


def test_what_is_logged_is_what_evaluation_gives(pairs: Path, pair_file: Callable[..., Path]) -> None:
    protocol = PairSets([pairs, pair_file("other", num_pairs=40)])
    trainer, module, memo = train([ProtocolValidation([protocol])])
    results = protocol.evaluate(Embedder(module.backbone, progress=False), detailed=False)
    logged = memo.steps[6]
    accuracies = [result.measure("accuracy").value for result in results]
    assert [logged["val/made/accuracy"], logged["val/other/accuracy"]] == accuracies
    assert logged["val/mean/accuracy"] == pytest.approx(np.mean(accuracies))
    assert logged["epoch"] == 1
    assert float(trainer.callback_metrics["val/mean/accuracy"]) == pytest.approx(np.mean(accuracies))


def test_the_best_checkpoint_is_that_of_the_best_validation(pairs: Path, tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path / "checkpoints", every_n_steps=None)
    _, _, memo = train([ProtocolValidation([PairSets([pairs])], every_n_steps=1), writer])
    accuracies = {step: values["val/mean/accuracy"] for step, values in memo.steps.items()}
    assert writer.best_value == pytest.approx(max(accuracies.values()))
    assert writer.best_step == max(accuracies, key=lambda step: (accuracies[step], -step))


def test_sets_in_several_modes_and_other_measures_are_told_apart() -> None:
    results = [
        Result("ijbc", "ijbc", mode, (Measure("tar@far=1e-04/strict", value),))
        for mode, value in (("N1D1F1", 0.5), ("N0D0F0", 0.25))
    ] + [Result("pair_sets", "lfw", "F1", (Measure("accuracy", 0.9),))]
    assert logged_values(results) == {
        "val/ijbc_N1D1F1/tar@far=1e-04/strict": 0.5,
        "val/ijbc_N0D0F0/tar@far=1e-04/strict": 0.25,
        "val/lfw/accuracy": 0.9,
        "val/ijbc/mean/tar@far=1e-04/strict": 0.375,
        "val/mean/tar@far=1e-04/strict": 0.375,
        "val/pair_sets/mean/accuracy": 0.9,
        "val/mean/accuracy": 0.9,
    }


def test_means_are_over_one_protocol_and_kind_and_never_of_a_threshold() -> None:
    results = [
        Result(
            "pair_sets", "lfw", "F1", (Measure("accuracy", 0.9), Measure("threshold_cosine", 0.3, unit="", better=None))
        ),
        Result("classification", "smiles", "smiling", (Measure("accuracy", 0.5),), kind="classes"),
        Result("regression", "ages", "age", (Measure("mae", 4.0, unit="years", better="lower"),), kind="values"),
    ]
    values = logged_values(results)
    assert "val/mean/accuracy" not in values, "of two protocols, whose accuracies mean other things"
    assert values["val/classification/mean/accuracy"] == 0.5
    assert values["val/mean/mae"] == 4.0
    assert not any("mean/threshold" in name for name in values)
    assert directions_of(results)["val/mean/mae"] == "lower"
    assert "val/lfw/threshold_cosine" not in directions_of(results)


def test_measures_of_several_units_have_no_mean() -> None:
    results = [
        Result("regression", name, name, (Measure("mae", 4.0, unit=unit, better="lower"), Measure("cs@5", 0.5)))
        for name, unit in (("ages", "years"), ("weights", "kg"))
    ]
    values = logged_values(results)
    assert not [name for name in values if name.endswith("mean/mae")]
    assert values["val/mean/cs@5"] == values["val/regression/mean/cs@5"] == 0.5
    assert values["val/weights/mae"] == 4.0
    tables = measure_tables(results)
    assert [[str(column.header) for column in table.columns][2] for table in tables] == ["mae years", "mae kg"]
    assert format_measure(results[1].measures[0], with_unit=True) == "4.00 kg"


def test_of_many_measures_each_has_a_row_on_the_screen() -> None:
    for count in (8, 9):
        measures = tuple(Measure(f"m{number}", number / 10) for number in range(count))
        (table,) = measure_tables([Result("points", name, "", measures, kind="points") for name in ("a", "b")])
        down = count == 9
        assert [str(column.header) for column in table.columns][:2] == (["measure", "a"] if down else ["set", "mode"])
        assert (len(table.columns), table.row_count) == ((3, 9) if down else (10, 2))
        if down:
            assert list(table.columns[2].cells) == [f"{10 * number:.2f}" for number in range(9)]


def test_without_sets_nothing_happens_and_bad_steps_are_refused() -> None:
    assert train([ProtocolValidation([PairSets([])])])[2].steps == {}
    with pytest.raises(ValueError, match="every_n_steps must be at least 1"):
        ProtocolValidation([], every_n_steps=0)


def test_the_network_may_be_measured_before_the_first_step(pairs: Path) -> None:
    told: list[Any] = []
    validation = ProtocolValidation([PairSets([pairs])], before=True)
    validation.told_before = told.extend
    _, module, memo = train([validation])
    assert sorted(memo.steps) == [0, 3, 6]
    assert [result.name for result in told] == ["made"]
    assert told[0].measure("accuracy").value == memo.steps[0]["val/made/accuracy"]
    untouched, _, same = train([ProtocolValidation([PairSets([pairs])])])
    assert same.steps[6] == memo.steps[6]  # training continues as if nothing had been measured
    assert module.validated_at == untouched.global_step
