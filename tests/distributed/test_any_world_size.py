"""Centres saved on four ranks and loaded on one, two, three and eight: weights and moments bit for bit, and the same
next step.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from transface.classifiers.center_shards import ShardRange
from transface.classifiers.partial_fc import PartialFC
from transface.distributed import global_mean, world_size
from transface.margins.arcface import ArcFace
from transface.training.checkpoints.shards import read_rows, read_shards, write_shards
from transface.training.optimization.optimizers import SGD, AdamW
from transface.training.optimization.sampled_rows import state_by_row

CLASSES, SIZE, FACES = 29, 5, 12


class Step(NamedTuple):
    losses: Tensor
    centers: Tensor
    state: dict[str, Tensor]


def build(rate: float, optimizer: str) -> tuple[PartialFC, torch.optim.Optimizer]:
    classifier = PartialFC(
        CLASSES, SIZE, ArcFace(16.0, 0.3), sample_rate=rate
    ).double()  # what processors round apart is far below the tolerance
    if optimizer == "sgd":
        return classifier, SGD([classifier.centers], lr=0.1, momentum=0.9, weight_decay=0.01)
    return classifier, AdamW([classifier.centers], lr=0.01, weight_decay=0.1)


def take_step(rank: int, step: int, classifier: PartialFC, optimizer: torch.optim.Optimizer) -> Step:
    generator = torch.Generator().manual_seed(step)
    faces, labels = (
        torch.randn(FACES, SIZE, generator=generator, dtype=torch.float64),
        torch.randint(CLASSES, (FACES,), generator=generator),
    )
    losses = classifier(*(part.tensor_split(world_size())[rank] for part in (faces, labels)))
    optimizer.zero_grad()
    global_mean(losses).backward()
    optimizer.step()
    state = {name: value.clone() for name, value in state_by_row(optimizer, classifier.centers).items()}
    return Step(losses.detach(), classifier.centers.detach().clone(), state)


@pytest.mark.parametrize(("rate", "optimizer"), [(1.0, "adamw"), (0.5, "adamw"), (0.5, "sgd")])
def test_any_number_of_ranks_goes_on_from_four(run_ranks: Any, tmp_path: Path, rate: float, optimizer: str) -> None:
    def first_steps(rank: int) -> tuple[Step, Step]:
        classifier, steps = build(rate, optimizer)
        for step in range(3):
            last = take_step(rank, step, classifier, steps)
        write_shards(tmp_path, classifier, optimizer=steps)
        return last, take_step(rank, 3, classifier, steps)

    saved, following = zip(*run_ranks(4, first_steps), strict=True)
    assert len(list(tmp_path.glob("centers-*.safetensors"))) == 4

    def go_on(rank: int) -> tuple[Step, Step]:
        classifier, steps = build(rate, optimizer)
        classifier.set_extra_state({"num_draws": 3 if rate < 1 else 0})
        read_shards(tmp_path, classifier, optimizer=steps)
        loaded = {name: value.clone() for name, value in state_by_row(steps, classifier.centers).items()}
        centers = classifier.centers.detach().clone()
        return Step(torch.empty(0), centers, loaded), take_step(rank, 3, classifier, steps)

    for ranks in (1, 2, 3, 8):
        loaded, went_on = zip(*run_ranks(ranks, go_on), strict=True)
        assert torch.equal(torch.cat([part.centers for part in loaded]), torch.cat([part.centers for part in saved]))
        assert set(loaded[0].state) == set(saved[0].state) != set()
        for name in saved[0].state:
            assert torch.equal(
                torch.cat([part.state[name] for part in loaded]), torch.cat([part.state[name] for part in saved])
            ), name
        near = {"rtol": 1e-10, "atol": 1e-10}
        torch.testing.assert_close(
            torch.cat([part.losses for part in went_on]), torch.cat([part.losses for part in following]), **near
        )
        torch.testing.assert_close(
            torch.cat([part.centers for part in went_on]), torch.cat([part.centers for part in following]), **near
        )


def test_a_whole_parameter_s_step_comes_back_as_a_number(tmp_path: Path) -> None:
    classifier, optimizer = build(1.0, "adamw")
    take_step(0, 0, classifier, optimizer)
    write_shards(tmp_path, classifier, optimizer=optimizer)
    again, fresh = build(1.0, "adamw")
    read_shards(tmp_path, again, optimizer=fresh)
    assert fresh.state[again.centers]["step"].ndim == 0
    assert torch.equal(take_step(0, 1, again, fresh).centers, take_step(0, 1, classifier, optimizer).centers)


def test_classes_of_a_rank_that_wrote_no_state_have_not_moved(tmp_path: Path) -> None:
    classifier, optimizer = build(1.0, "adamw")
    take_step(0, 0, classifier, optimizer)
    expected = state_by_row(optimizer, classifier.centers)
    whole = classifier.centers
    for classes, steps in ((ShardRange(0, 10), None), (ShardRange(10, CLASSES), optimizer)):
        classifier.classes = classes
        classifier.centers = torch.nn.Parameter(whole.detach()[slice(*classes)])
        if steps is not None:
            steps.state[classifier.centers] = {name: value[slice(*classes)] for name, value in expected.items()}
        write_shards(tmp_path, classifier, optimizer=steps)
    rows = read_rows(tmp_path, 5, 20, num_rows=CLASSES)
    assert torch.equal(rows["weight"], whole[5:20])
    for name, value in expected.items():
        assert not rows[f"state.{name}"][:5].any()
        assert torch.equal(rows[f"state.{name}"][5:], value[10:20])


def test_a_rank_without_classes_reads_nothing(tmp_path: Path) -> None:
    classifier, _ = build(1.0, "adamw")
    write_shards(tmp_path, classifier)
    assert read_rows(tmp_path, CLASSES, CLASSES, num_rows=CLASSES)["weight"].shape == (0, SIZE)


def test_a_missing_file_another_data_set_and_another_size_are_refused(tmp_path: Path) -> None:
    classifier, _ = build(1.0, "adamw")
    with pytest.raises(FileNotFoundError, match=r"no file in .* holds the centers of class 0"):
        read_shards(tmp_path, classifier)
    classifier.classes = ShardRange(0, 10)
    write_shards(tmp_path, classifier)
    with pytest.raises(FileNotFoundError, match="holds the centers of class 10"):
        read_rows(tmp_path, 5, 20, num_rows=CLASSES)
    with pytest.raises(ValueError, match="of 29 classes, expected 30"):
        read_shards(tmp_path, PartialFC(30, SIZE, ArcFace()))
    classifier.classes = ShardRange(0, CLASSES)
    write_shards(tmp_path, classifier)
    with pytest.raises(ValueError, match="embedding size 5, expected 6"):
        read_shards(tmp_path, PartialFC(CLASSES, 6, ArcFace()))
