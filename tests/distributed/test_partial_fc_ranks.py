"""partial_fc on two, three and four gloo processes against one: losses, backbone gradients and centres of five
steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from transface.classifiers.partial_fc import PartialFC
from transface.distributed import global_mean, is_distributed, world_size
from transface.margins.adaface import AdaFace
from transface.margins.arcface import ArcFace
from transface.margins.curricularface import CurricularFace
from transface.margins.magface import MagFace
from transface.margins.uniface import UniFace
from transface.training.optimization.optimizers import SGD, AdamW

CLASSES, SIZE, FACES, STEPS = 41, 6, 13, 5
TIGHT = {torch.float64: 1e-12, torch.float32: 1e-4}  # of the largest element; 6e-15 and 1e-5 were seen
MARGINS: dict[str, Callable[[], nn.Module]] = {
    "arcface": lambda: ArcFace(16.0, 0.3),
    "adaface": lambda: AdaFace(16.0, momentum=0.3),
    "magface": lambda: MagFace(16.0, 0.1, highest_norm=5.0, regulariser_weight=2.0),
    "curricularface": lambda: CurricularFace(16.0, 0.3, momentum=0.3),
    "uniface": lambda: UniFace(CLASSES, 16.0, margin=0.3),
}


class Run(NamedTuple):
    losses: list[Tensor]
    weights: list[Tensor]
    gradients: list[Tensor]
    centers: Tensor


def batch(step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The global batch of a step; the last one is short, so that some ranks get fewer faces or none."""
    generator = torch.Generator().manual_seed(step)
    faces = FACES if step < STEPS - 1 else 3
    drawn = torch.randn(faces, 5, generator=generator, dtype=torch.float64).to(dtype)
    return (
        drawn,
        torch.randint(CLASSES, (faces,), generator=generator),
        torch.rand(faces, generator=generator, dtype=torch.float64).to(dtype),
    )


def train(rank: int, *, dtype: torch.dtype, rate: float, optimizer: str, margin: str) -> Run:
    """Five steps of a small backbone under DDP, each rank on its slice of the global batch, the loss weighted per
    sample.
    """
    torch.manual_seed(0)
    backbone: nn.Module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, SIZE)).to(dtype)
    classifier = PartialFC(CLASSES, SIZE, MARGINS[margin](), sample_rate=rate, chunk_size=4, seed=3).to(dtype)
    if is_distributed():
        backbone = DistributedDataParallel(backbone)
    parameters = [*backbone.parameters(), classifier.centers]
    steps = {
        "adamw": AdamW(parameters, lr=0.01, weight_decay=0.1),
        "sgd": SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.01),
    }
    losses, gradients, weights = [], [], []
    for step in range(STEPS):
        faces, labels, sample_weights = (part.tensor_split(world_size())[rank] for part in batch(step, dtype))
        per_sample = classifier(backbone(faces), labels)
        loss = global_mean(per_sample * sample_weights)
        steps[optimizer].zero_grad()
        loss.backward()
        steps[optimizer].step()
        losses.append(per_sample.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in backbone.parameters()]))
        weights.append(torch.cat([p.detach().flatten() for p in backbone.parameters()]))
    return Run(losses, weights, gradients, classifier.centers.detach())


def assert_same(one: Run, ranks: list[Run], dtype: torch.dtype) -> None:
    for step in range(STEPS):
        assert_near(torch.cat([run.losses[step] for run in ranks]), one.losses[step], dtype)
        for run in ranks:
            assert_near(run.gradients[step], one.gradients[step], dtype)
            assert_near(run.weights[step], one.weights[step], dtype)
    assert_near(torch.cat([run.centers for run in ranks]), one.centers, dtype)


def assert_near(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    """Close to a part of the largest element: a small one is what is left of a sum of large ones, and keeps their
    rounding, which Adam's division carries on.
    """
    torch.testing.assert_close(found, wanted, rtol=0, atol=TIGHT[dtype] * float(wanted.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rate", [1.0, 0.1, 0.6])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_train_as_one_process_does(run_ranks: Any, ranks: int, rate: float, dtype: torch.dtype) -> None:
    optimizer = "sgd" if ranks == 3 else "adamw"
    settings = {"dtype": dtype, "rate": rate, "optimizer": optimizer, "margin": "arcface"}
    assert_same(train(0, **settings), run_ranks(ranks, lambda rank: train(rank, **settings)), dtype)


@pytest.mark.parametrize("margin", ["adaface", "magface", "curricularface", "uniface"])
def test_a_margin_with_state_or_norms_trains_on_ranks_as_on_one(run_ranks: Any, margin: str) -> None:
    settings: dict[str, Any] = {"dtype": torch.float64, "rate": 0.6, "optimizer": "adamw", "margin": margin}
    assert_same(train(0, **settings), run_ranks(3, lambda rank: train(rank, **settings)), torch.float64)


def test_a_margin_s_own_parameter_gets_the_gradient_of_all_classes_on_every_rank(run_ranks: Any) -> None:
    def gradient(rank: int) -> Tensor:
        classifier = PartialFC(CLASSES, SIZE, UniFace(CLASSES, 16.0), num_subcenters=2, seed=3).double()
        torch.manual_seed(1)
        faces, labels = torch.randn(9, SIZE, dtype=torch.float64), torch.randint(CLASSES, (9,))
        mine = classifier(faces.tensor_split(world_size())[rank], labels.tensor_split(world_size())[rank])
        global_mean(mine).backward()
        return classifier.margin.threshold.grad[None]

    # DDP averages what the ranks have.
    torch.testing.assert_close(torch.cat(run_ranks(3, gradient)).mean(), gradient(0)[0])


def test_more_ranks_than_classes_work(run_ranks: Any) -> None:
    def losses(rank: int) -> Tensor:
        torch.manual_seed(1)
        faces, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1, 0])
        classifier = PartialFC(2, 4, ArcFace()).double()
        return classifier(faces.tensor_split(world_size())[rank], labels.tensor_split(world_size())[rank]).detach()

    torch.testing.assert_close(torch.cat(run_ranks(3, losses)), losses(0))


def test_centres_made_before_the_group_is_up_are_placed_after_it(run_ranks: Any) -> None:
    whole = PartialFC(CLASSES, SIZE, ArcFace())

    def placed(rank: int) -> Tensor:
        with pytest.raises(RuntimeError, match="call place"):
            whole(torch.randn(2, SIZE), torch.tensor([0, 1]))
        whole.place()
        assert torch.equal(whole.centers, PartialFC(CLASSES, SIZE, ArcFace()).centers)
        return whole.centers.detach()

    assert torch.equal(torch.cat(run_ranks(3, placed)), whole.centers)
