"""compile_chunks: the numbers of the walk as it is without, for every margin and with classes left out."""

import copy
from collections.abc import Callable

import pytest
import torch
from tests.unit.classifiers.test_head_products import trained_faces
from torch import Tensor, nn

from transface.classifiers import class_walk
from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.margins.adaface import AdaFace
from transface.margins.arcface import ArcFace
from transface.margins.cosface import CosFace
from transface.margins.curricularface import CurricularFace
from transface.margins.uniface import UniFace

MARGINS = {
    "adaface": AdaFace,
    "arcface": lambda: ArcFace(filter_threshold=0.4),
    "cosface": CosFace,
    "curricularface": CurricularFace,
    "uniface": lambda: UniFace(500),  # has a learned threshold
}


def answers(head: nn.Module, centers: Tensor) -> list[Tensor]:
    embeddings, _, labels = trained_faces()
    head = head.double()
    head.centers = nn.Parameter(centers.double())
    embeddings = embeddings.double().requires_grad_()
    losses = head(embeddings, labels)
    losses.mean().backward()
    return [losses.detach(), embeddings.grad, *(own.grad for own in head.parameters())]


def compare(kind: Callable[..., nn.Module], margin: nn.Module, **settings: object) -> None:
    centers = trained_faces()[1].repeat_interleave(int(settings.get("num_subcenters", 1)), 0)
    plain, compiled = (
        answers(
            kind(500, centers.shape[1], copy.deepcopy(margin), chunk_size=96, compile_chunks=fused, **settings),
            centers,
        )
        for fused in (False, True)
    )
    assert len(plain) == len(compiled) > 2
    for one, two in zip(plain, compiled, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-10, atol=1e-12)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions asked for, in turn, run as they are."""
    asked: list[str] = []

    def as_it_is(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        asked.append(function.__name__)
        return function

    monkeypatch.setattr(class_walk, "compiled", as_it_is)
    return asked


@pytest.mark.parametrize("settings", [{}, {"sample_rate": 0.3}, {"num_subcenters": 2}], ids=["all", "sampled", "two"])
@pytest.mark.parametrize("name", sorted(MARGINS))
def test_what_is_compiled_gives_the_numbers_of_the_walk(name: str, settings: dict, calls: list[str]) -> None:
    compare(PartialFC, MARGINS[name](), **settings)
    assert set(calls) == (set() if name == "uniface" else {"chunk_logsumexp", "chunk_gradients"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cosface", "curricularface"])
def test_torch_compile_gives_the_numbers_of_the_walk(name: str) -> None:
    compare(FullSoftmax, MARGINS[name]())
