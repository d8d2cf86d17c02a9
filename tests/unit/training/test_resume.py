"""A run stopped after any step and resumed ends bit for bit where the run that was never stopped ends."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.margins.adaface import AdaFace
from transface.margins.cosface import CosFace
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.ehsm import EHSM
from transface.training.callbacks.weight_averaging import WeightAverage
from transface.training.checkpoints.reader import complete_checkpoints, read_checkpoint
from transface.training.checkpoints.writer import CheckpointWriter
from transface.training.optimization.optimizers import AdamW
from transface.training.optimization.schedules import Polynomial


class StopAfter(lightning.Callback):
    """Ends the process of training, as a kill would, after some optimizer steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise KilledError


class KilledError(Exception):
    """Stands for kill -9."""


class SeenKeys(lightning.Callback):
    def __init__(self) -> None:
        self.keys: list[list[int]] = []

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.keys.append(batch.keys.tolist())


def new_module(make_module: Any, classifier: Any = None) -> Any:
    return make_module(
        classifier,
        perturbation=DPAP(3, probability=0.5),
        weighting=EHSM(),
        schedule=Polynomial(warmup_steps=2),
        clip_norm=1.0,
    )


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize(
    ("stop", "accumulation", "num_workers"),
    [(1, 1, 0), (4, 1, 2), (5, 1, 2), (7, 1, 0), (9, 1, 2), (3, 2, 0), (5, 2, 2)],
)
def test_a_stopped_run_ends_where_the_whole_one_ends(
    make_module: Any, train_on_data: Any, tmp_path: Path, stop: int, accumulation: int, num_workers: int
) -> None:
    whole, seen = new_module(make_module), SeenKeys()
    ended = train_on_data(
        whole, [seen, WeightAverage(decay=0.9)], accumulate_grad_batches=accumulation, max_epochs=2 * accumulation
    )

    part, seen_part = new_module(make_module), SeenKeys()
    stopper = [seen_part, WeightAverage(decay=0.9), CheckpointWriter(tmp_path, every_n_steps=1), StopAfter(stop)]
    with pytest.raises(KilledError):
        train_on_data(part, stopper, accumulate_grad_batches=accumulation, max_epochs=2 * accumulation)
    checkpoint = complete_checkpoints(tmp_path)[-1]
    assert checkpoint.name == f"step-{stop:09d}"

    again = new_module(make_module)
    torch.manual_seed(12345)  # a new process has another random state
    average = WeightAverage(decay=0.9)
    resumed = train_on_data(
        again,
        [seen_part, average, CheckpointWriter(tmp_path, every_n_steps=None)],
        num_workers=num_workers,
        ckpt_path=checkpoint / "trainer.ckpt",
        accumulate_grad_batches=accumulation,
        max_epochs=2 * accumulation,
    )
    assert seen_part.keys == seen.keys
    assert resumed.global_step == ended.global_step
    assert_same_state(again, whole)
    averaged = whole.evaluated_network.state_dict()
    for name, value in again.evaluated_network.state_dict().items():
        torch.testing.assert_close(value, averaged[name], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize(("stops", "old"), [((5, 15), False), ((3, 5, 10, 12), False), ((10, 12, 15), True)])
def test_a_run_stopped_again_and_again_at_the_ends_of_epochs_goes_on_exactly(
    make_module: Any, train_on_data: Any, tmp_path: Path, stops: tuple[int, ...], old: bool
) -> None:
    """And from files of before this was so, which told one epoch too few of those begun."""
    whole, seen = new_module(make_module), SeenKeys()
    ended = train_on_data(whole, [seen], max_epochs=4)
    seen_part, checkpoint = SeenKeys(), None
    for stop in stops:
        with pytest.raises(KilledError):
            train_on_data(
                new_module(make_module),
                [seen_part, CheckpointWriter(tmp_path, every_n_steps=1), StopAfter(stop)],
                max_epochs=4,
                ckpt_path=checkpoint,
            )
        checkpoint = complete_checkpoints(tmp_path)[-1] / "trainer.ckpt"
        content = torch.load(checkpoint, weights_only=False)
        for counts in content["loops"]["fit_loop"]["epoch_progress"].values():
            assert counts["ready"] == counts["started"] == counts["processed"] + 1
            if old:
                counts["ready"] = counts["started"] = counts["processed"]
        torch.save(content, checkpoint)
    again = new_module(make_module)
    resumed = train_on_data(again, [seen_part], max_epochs=4, ckpt_path=checkpoint)
    assert seen_part.keys == seen.keys
    assert (resumed.global_step, resumed.current_epoch) == (ended.global_step, ended.current_epoch)
    assert_same_state(again, whole)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("stop", [2, 5])
def test_an_average_named_after_the_checkpoint_goes_on_exactly_too(
    make_module: Any, train_on_data: Any, tmp_path: Path, stop: int
) -> None:
    whole = new_module(make_module)
    train_on_data(whole, [CheckpointWriter(tmp_path / "whole", every_n_steps=None), WeightAverage(decay=0.5)])
    with pytest.raises(KilledError):
        train_on_data(
            new_module(make_module),
            [CheckpointWriter(tmp_path, every_n_steps=1), WeightAverage(decay=0.5), StopAfter(stop)],
        )
    again = new_module(make_module)
    saved = complete_checkpoints(tmp_path)[-1]
    assert saved.name == f"step-{stop:09d}"
    train_on_data(again, [WeightAverage(decay=0.5)], ckpt_path=saved / "trainer.ckpt")
    assert_same_state(again.evaluated_network, whole.evaluated_network)
    ended = read_checkpoint(complete_checkpoints(tmp_path / "whole")[-1])
    assert_same_state(whole.evaluated_network, StateOf(ended["averaged"]))


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_the_loss_scale_of_half_precision_goes_on_exactly(make_module: Any, train_on_data: Any, tmp_path: Path) -> None:
    def scaled() -> dict[str, Any]:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
        return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}

    def module() -> Any:
        # Not fused: torch's fused optimizers undo the scale themselves.
        return make_module(optimizer=partial(AdamW, lr=1e-3, foreach=True), clip_norm=1.0)

    whole = module()
    ended = train_on_data(whole, [], **scaled())
    with pytest.raises(KilledError):
        train_on_data(module(), [CheckpointWriter(tmp_path, every_n_steps=1), StopAfter(5)], **scaled())
    again = module()
    resumed = train_on_data(again, [], ckpt_path=complete_checkpoints(tmp_path)[-1] / "trainer.ckpt", **scaled())
    assert_same_state(again, whole)
    assert resumed.precision_plugin.state_dict() == ended.precision_plugin.state_dict()
    assert ended.precision_plugin.state_dict()["scale"] == 2.0**15


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
def test_sampled_centres_and_adaptive_margins_go_on_exactly(
    make_module: Any, train_on_data: Any, tmp_path: Path, sample_rate: float
) -> None:
    def classifier() -> PartialFC:
        torch.manual_seed(8)
        return PartialFC(10, 16, AdaFace(scale=16.0), sample_rate=sample_rate)

    whole = new_module(make_module, classifier())
    train_on_data(whole, [])
    with pytest.raises(KilledError):
        train_on_data(
            new_module(make_module, classifier()), [CheckpointWriter(tmp_path, every_n_steps=1), StopAfter(3)]
        )
    again = new_module(make_module, classifier())
    train_on_data(again, [], ckpt_path=complete_checkpoints(tmp_path)[-1] / "trainer.ckpt")
    assert_same_state(again, whole)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_rate_given_on_resuming_is_the_one_trained_with(
    make_module: Any, train_on_data: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KilledError):
        train_on_data(new_module(make_module), [CheckpointWriter(tmp_path, every_n_steps=1), StopAfter(3)])
    again = make_module(
        perturbation=DPAP(3), weighting=EHSM(), schedule=Polynomial(warmup_steps=2), optimizer=partial(AdamW, lr=0.0)
    )
    weights = read_checkpoint(complete_checkpoints(tmp_path)[-1])["state_dict"]
    train_on_data(again, [], ckpt_path=complete_checkpoints(tmp_path)[-1] / "trainer.ckpt")
    assert "from step 3 on, as this command says: lr 0.001 -> 0.0" in capsys.readouterr().out
    parameters = dict(again.named_parameters())
    assert_same_state(StateOf(parameters), StateOf({name: weights[name] for name in parameters}))


class Rates(lightning.Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_a_run_made_longer_has_the_rates_of_its_new_length_from_the_first_step_on(
    make_module: Any, train_on_data: Any, tmp_path: Path
) -> None:
    whole, longer = Rates(), Rates()
    train_on_data(new_module(make_module), [whole], max_epochs=4)
    train_on_data(new_module(make_module), [CheckpointWriter(tmp_path, every_n_steps=10)], max_epochs=2)
    checkpoint = complete_checkpoints(tmp_path)[-1] / "trainer.ckpt"
    train_on_data(new_module(make_module), [longer], max_epochs=4, ckpt_path=checkpoint)
    assert longer.seen == whole.seen[10:]
    assert longer.seen[0] > 0


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("by_validation", [True, False])
def test_an_epoch_that_had_ended_is_whole_however_many_batches_one_has_now(
    make_module: Any, train_on_data: Any, tmp_path: Path, by_validation: bool
) -> None:
    """Twice the batches an epoch: the rest of them was taken from the next one, whose images came twice."""
    writer = CheckpointWriter(tmp_path, every_n_steps=5 if by_validation else None)
    train_on_data(new_module(make_module), [writer], max_epochs=1)
    seen = SeenKeys()
    resumed = train_on_data(
        new_module(make_module),
        [seen],
        max_epochs=2,
        total_batch_size=4,
        ckpt_path=complete_checkpoints(tmp_path)[-1] / "trainer.ckpt",
    )
    images = [key for batch in seen.keys for key in batch]
    assert len(images) == len(set(images)) == 40
    assert (resumed.global_step, resumed.current_epoch) == (15, 2)


def test_what_is_no_state_of_this_run_is_refused_before_anything_is_loaded(
    make_module: Any, train_on_data: Any, tmp_path: Path
) -> None:
    module = new_module(make_module)
    train_on_data(module, [CheckpointWriter(tmp_path, every_n_steps=None)], max_epochs=1)
    path = complete_checkpoints(tmp_path)[-1] / "trainer.ckpt"
    content = read_checkpoint(path)
    new_module(make_module).check_checkpoint(content, path)
    with pytest.raises(ValueError, match="is no checkpoint of a run of training"):
        module.check_checkpoint({"state_dict": content["state_dict"]}, path)
    with pytest.raises(ValueError, match="other groups of parameters: resume with its system"):
        make_module(decay_rule="released").check_checkpoint(content, path)
    with pytest.raises(ValueError, match="another architecture"):
        make_module(FullSoftmax(11, 16, CosFace())).check_checkpoint(content, path)


class StateOf:
    """Weights as something with a state_dict."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.weights


def assert_same_state(one: Any, other: Any) -> None:
    wanted = other.state_dict()
    for name, value in one.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(
                value, wanted[name], rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}"
            )
        else:
            assert value == wanted[name], name
