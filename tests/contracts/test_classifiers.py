"""What every classifier promises: per-sample losses of the right type, gradients for embeddings and centres, chunks
that do not matter.
"""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.margins.adaface import AdaFace
from transface.margins.cosface import CosFace

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "full_softmax": FullSoftmax,
    "partial_fc": PartialFC,
    "partial_fc_sampled": lambda *sizes, **settings: PartialFC(*sizes, sample_rate=0.3, **settings),
}
C, E, B = 50, 6, 9


@pytest.fixture(params=sorted(CLASSIFIERS))
def make(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    return CLASSIFIERS[request.param]


@pytest.fixture
def faces() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    return torch.randn(B, E, generator=generator), torch.randint(C, (B,), generator=generator)


def test_it_says_its_sizes_and_owns_centres_and_margin(make) -> None:
    margin = CosFace()
    classifier = make(C, E, margin)
    assert (classifier.num_identities, classifier.embedding_size) == (C, E)
    assert isinstance(classifier.centers, nn.Parameter)
    assert classifier.centers.shape == (C, E)
    assert classifier.margin is margin


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_losses_are_per_sample_and_at_least_single_precision(make, faces, kind) -> None:
    losses = make(C, E, CosFace())(faces[0].to(kind), faces[1])
    assert losses.shape == (B,)
    assert losses.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert (losses >= 0).all()


def test_a_sample_with_weight_zero_has_no_gradient(make, faces) -> None:
    classifier, embeddings = make(C, E, CosFace()), faces[0].requires_grad_()
    weights = torch.ones(B)
    weights[4] = 0
    (classifier(embeddings, faces[1]) * weights).sum().backward()
    untouched = embeddings.grad.norm(dim=1) == 0
    assert untouched.tolist() == [b == 4 for b in range(B)]


def test_a_batch_is_its_faces_one_by_one(make, faces) -> None:
    classifier = make(C, E, CosFace()).double().eval()
    embeddings, labels = faces[0].double(), faces[1]
    alone = torch.cat([classifier(embeddings[b : b + 1], labels[b : b + 1]) for b in range(B)])
    torch.testing.assert_close(classifier(embeddings, labels), alone, rtol=1e-12, atol=1e-12)


def test_the_chunk_size_does_not_matter(make, faces) -> None:
    whole, chunked = (make(C, E, CosFace(), chunk_size=size).double() for size in (None, 7))
    torch.testing.assert_close(
        whole(faces[0].double(), faces[1]), chunked(faces[0].double(), faces[1]), rtol=1e-12, atol=1e-12
    )


def test_a_centre_s_gradient_is_across_it(make, faces) -> None:
    classifier = make(C, E, CosFace()).double()
    classifier(faces[0].double(), faces[1]).sum().backward()
    gradient = classifier.centers.grad.to_dense() if classifier.centers.grad.is_sparse else classifier.centers.grad
    assert ((gradient * classifier.centers).sum(dim=1).abs() <= 1e-9 * gradient.norm(dim=1) + 1e-12).all()
    assert gradient.norm() > 0


def test_running_statistics_of_the_margin_are_saved_and_rest_in_evaluation(make, faces) -> None:
    classifier = make(C, E, AdaFace(momentum=0.5))
    classifier(*faces)
    moved = classifier.margin.norm_mean.clone()
    assert moved != 20
    fresh = make(C, E, AdaFace())
    fresh.load_state_dict(classifier.state_dict())
    fresh.eval()(*faces)
    assert torch.equal(fresh.margin.norm_mean, moved)


def test_the_same_seed_gives_the_same_centres(make) -> None:
    assert torch.equal(make(C, E, CosFace(), seed=1).centers, make(C, E, CosFace(), seed=1).centers)
    assert not torch.equal(make(C, E, CosFace(), seed=1).centers, make(C, E, CosFace(), seed=2).centers)


@pytest.mark.parametrize("label", [-1, C])
def test_a_label_out_of_range_is_refused(make, faces, label: int) -> None:
    faces[1][0] = label
    with pytest.raises(ValueError, match=f"labels must be in 0..{C - 1}.*got {label}"):
        make(C, E, CosFace())(*faces)
