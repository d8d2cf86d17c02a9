"""Margins with running statistics, AdaFace and CurricularFace, against numbers recorded from the programs their authors
released: several steps, the statistics carried over.
"""

from pathlib import Path

import numpy as np
import pytest
from tests.parity.loss_packs import assert_gradients, assert_head_gives, assert_near, cases, settings, steps_of, tensor
from torch import Tensor, nn
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.margins.adaface import AdaFace
from transface.margins.arcface import ArcFace
from transface.margins.curricularface import CurricularFace

Pack = dict[str, np.ndarray]


@pytest.fixture
def pack(shared: Path, request: pytest.FixtureRequest) -> Pack:
    return dict(np.load(shared / "parity/losses" / f"{request.param}.npz", allow_pickle=False))


def take_step(pack: Pack, step: str, margin: nn.Module) -> tuple[Tensor, Tensor, nn.Parameter, Tensor]:
    """Return the logits with the statistics of after the step, and its embeddings, centres and loss with gradients."""
    labels = tensor(pack, f"{step}/in_label")
    embeddings, weight = tensor(pack, f"{step}/in_embedding").requires_grad_(), tensor(pack, f"{step}/in_weight")
    head = FullSoftmax(*weight.shape, margin.train(), chunk_size=7)
    head.centers = nn.Parameter(weight)
    loss = head(embeddings, labels).mean()
    loss.backward()
    cosines = F.normalize(embeddings.detach()) @ F.normalize(weight).T
    logits = margin.eval()(cosines, labels, embeddings.detach().norm(dim=1))
    return logits, embeddings, head.centers, loss.detach()


@pytest.mark.parametrize("pack", ["adaface"], indirect=True)
def test_steps_of_adaface_are_those_of_both_released_programs(pack: Pack) -> None:
    for case in cases(pack):
        hyper = settings(pack, case)
        margin = AdaFace(hyper["s"], hyper["m"], concentration=hyper["h"], momentum=hyper["t_alpha"]).double()
        for step in steps_of(pack, case):
            if f"{step}/state_before_mean" in pack:
                assert_near(margin.norm_mean[None], tensor(pack, f"{step}/state_before_mean"), 1e-6)
                assert_near(margin.norm_std[None], tensor(pack, f"{step}/state_before_std"), 1e-6)
            logits, embeddings, centers, loss = take_step(pack, step, margin)
            for program in ("adaface_repo", "cvlface_fc"):
                assert_near(margin.norm_mean[None], tensor(pack, f"{step}/{program}/out_batch_mean"), 2e-5)
                assert_near(margin.norm_std[None], tensor(pack, f"{step}/{program}/out_batch_std"), 2e-5)
                # CVLface keeps no angle in 0..pi: where a margin leads out of it, its logits are others.
                if program == "adaface_repo" or "clips" not in case:
                    assert_near(logits, tensor(pack, f"{step}/{program}/out_logits"), 2e-5)
                    assert_near(loss, tensor(pack, f"{step}/{program}/out_loss"), 2e-5)
            assert_gradients(pack, f"{step}/adaface_repo", embeddings, centers)


@pytest.mark.parametrize("pack", ["curricularface"], indirect=True)
def test_steps_of_curricularface_and_its_arcface_are_the_released_ones(pack: Pack) -> None:
    for case in cases(pack):
        hyper = settings(pack, case)
        if "arcface" in case:
            assert_head_gives(pack, case, ArcFace(hyper["s"], hyper["m"]))
            continue
        margin = CurricularFace(hyper["s"], hyper["m"]).double()
        for step in steps_of(pack, case):
            assert abs(margin.stage.item() - pack[f"{step}/t_before"].item()) <= 2e-6
            logits, embeddings, centers, loss = take_step(pack, step, margin)
            assert abs(margin.stage.item() - pack[f"{step}/t_after"].item()) <= 2e-6
            assert_near(logits, tensor(pack, f"{step}/out_logits"), 2e-5)
            assert_near(loss, tensor(pack, f"{step}/out_loss"), 2e-5)
            assert_gradients(pack, step, embeddings, centers)
            cosines = F.normalize(embeddings.detach()) @ F.normalize(centers.detach()).T
            assert_near(hyper["s"] * cosines, tensor(pack, f"{step}/out_scaled_cosine"), 2e-5)
