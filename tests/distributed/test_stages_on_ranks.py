"""LVFace's stages with two anchors over sharded class centres: two and three processes give the numbers of one in every
stage, and go on exactly from any of them.
"""

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from transface.classifiers.partial_fc import PartialFC
from transface.classifiers.stages import Staged
from transface.classifiers.two_anchors import TwoAnchors
from transface.distributed import global_mean, is_distributed, world_size
from transface.margins.cosface import CosFace
from transface.training.optimization.optimizers import AdamW

CLASSES, SIZE, FACES, STEPS, SCALE = 41, 6, 13, 9, 16.0
STAGES: tuple[dict[str, Any], ...] = (
    {"from_step": 0, "sample_rate": 0.4, "anchors": "centers"},
    {"from_step": 2, "anchors": "both"},
    {"from_step": 6, "sample_rate": 1.0, "expectation_update": "frozen"},
)


class Run(NamedTuple):
    losses: list[Tensor]
    gradients: list[Tensor]
    centers: Tensor
    expectations: Tensor
    is_known: Tensor


class Trained:
    """A small backbone and a staged classifier on one rank's slice of each global batch."""

    def __init__(self, negatives: Any) -> None:
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, SIZE)).double()
        partial = PartialFC(CLASSES, SIZE, CosFace(SCALE, 0.3), chunk_size=4, seed=3)
        two = TwoAnchors(partial, margin=0.3, scale=SCALE, expectation_negatives=negatives, chunk_size=5)
        self.staged = Staged(two, STAGES).double()
        self.backbone: Any = DistributedDataParallel(plain) if is_distributed() else plain
        parameters = [*self.backbone.parameters(), *self.staged.parameters()]
        self.optimizer = AdamW(parameters, lr=0.01, weight_decay=0.1)
        self.losses: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def step(self, number: int, rank: int) -> None:
        generator = torch.Generator().manual_seed(number)
        count = FACES if number != 4 else 1  # a rank without a face
        faces = torch.randn(count, 5, generator=generator, dtype=torch.float64).tensor_split(world_size())[rank]
        labels = torch.randint(CLASSES, (count,), generator=generator).tensor_split(world_size())[rank]
        self.staged.follow(step=number, epoch=0)
        per_sample = self.staged(self.backbone(faces), labels)
        self.optimizer.zero_grad()
        global_mean(per_sample).backward()
        self.optimizer.step()
        self.losses.append(per_sample.detach())
        self.gradients.append(torch.cat([p.grad.flatten() for p in self.backbone.parameters()]))

    def found(self) -> Run:
        two = self.staged.classifier
        two.write_moved()
        return Run(
            self.losses, self.gradients, two.classifier.centers.detach(), two.expectations.clone(), two.is_known.clone()
        )


def train(rank: int, *, negatives: str, stop: int | None = None) -> Run:
    """Nine steps through three stages; with `stop`, saved and opened again by a new run after so many."""
    own = Trained(negatives)
    for number in range(STEPS):
        if number == stop:
            saved = copy.deepcopy([own.backbone.state_dict(), own.staged.state_dict(), own.optimizer.state_dict()])
            again = Trained(negatives)
            again.losses, again.gradients = own.losses, own.gradients
            for part, state in zip((again.backbone, again.staged, again.optimizer), saved, strict=True):
                part.load_state_dict(state)
            own = again
        own.step(number, rank)
    return own.found()


@pytest.mark.parametrize(("ranks", "negatives"), [(2, "expectations"), (2, "centers"), (3, "expectations")])
def test_ranks_go_through_the_stages_as_one_process_does(run_ranks: Any, ranks: int, negatives: str) -> None:
    one = train(0, negatives=negatives)
    found = run_ranks(ranks, lambda rank: train(rank, negatives=negatives))
    near = {"rtol": 1e-9, "atol": 1e-9}
    for step in range(STEPS):
        torch.testing.assert_close(torch.cat([run.losses[step] for run in found]), one.losses[step], **near)
        for run in found:
            torch.testing.assert_close(run.gradients[step], one.gradients[step], **near)
    torch.testing.assert_close(torch.cat([run.centers for run in found]), one.centers, **near)
    assert 0 < int(one.is_known.sum()) < CLASSES
    for run in found:
        assert torch.equal(run.is_known, one.is_known)
        torch.testing.assert_close(run.expectations, one.expectations, **near)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_ranks_go_on_exactly_from_any_stage(run_ranks: Any, stop: int) -> None:
    whole = run_ranks(2, lambda rank: train(rank, negatives="expectations"))
    again = run_ranks(2, lambda rank: train(rank, negatives="expectations", stop=stop))
    for one, other in zip(whole, again, strict=True):
        assert all(torch.equal(*losses) for losses in zip(one.losses, other.losses, strict=True))
        assert torch.equal(one.centers, other.centers)
        assert torch.equal(one.expectations, other.expectations)
