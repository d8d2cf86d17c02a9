"""Sub-centres: the nearest one counts, in every chunk, in all classes and in sampled ones; who is dominant."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.classifiers.subcenters import dominant_subcenters, near_dominant
from transface.margins.arcface import ArcFace

B, C, K, E = 10, 7, 3, 5


def faces() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    embeddings = torch.randn(B, E, generator=generator, dtype=torch.float64).requires_grad_()
    centers = torch.randn(C * K, E, generator=generator, dtype=torch.float64)
    return embeddings, centers, torch.randint(C, (B,), generator=generator)


@pytest.mark.parametrize("kind", [FullSoftmax, PartialFC])
@pytest.mark.parametrize("chunk_size", [1, 4, 8, None])
def test_loss_and_gradients_are_those_of_the_whole_matrix(kind: type, chunk_size: int | None) -> None:
    embeddings, centers, labels = faces()
    head = kind(C, E, ArcFace(16.0, 0.3), chunk_size=chunk_size, num_subcenters=K).double()
    head.centers = nn.Parameter(centers.clone())
    losses = head(embeddings, labels)
    losses.sum().backward()
    raw, whole = centers.clone().requires_grad_(), embeddings.detach().requires_grad_()
    cosines = (F.normalize(whole) @ F.normalize(raw).T).view(B, C, K).amax(2)
    expected = F.cross_entropy(ArcFace(16.0, 0.3)(cosines, labels), labels, reduction="none")
    torch.testing.assert_close(losses, expected)
    of_faces, of_centers = torch.autograd.grad(expected.sum(), [whole, raw])
    torch.testing.assert_close(embeddings.grad, of_faces)
    torch.testing.assert_close(head.centers.grad, of_centers)


def test_sampled_classes_bring_all_their_subcentres() -> None:
    embeddings, centers, labels = faces()
    classes = torch.cat([labels, torch.tensor([C - 1])]).unique()
    head = PartialFC(C, E, ArcFace(16.0, 0.3), sample_rate=0.5, chunk_size=2, num_subcenters=K).double()
    head.centers = nn.Parameter(centers.clone())
    losses = head(embeddings, labels, classes=classes)
    losses.sum().backward()
    part = FullSoftmax(len(classes), E, ArcFace(16.0, 0.3), num_subcenters=K).double()
    part.centers = nn.Parameter(centers.view(C, K, E)[classes].flatten(0, 1))
    expected = part(embeddings.detach(), torch.searchsorted(classes, labels))
    torch.testing.assert_close(losses, expected)
    expected.sum().backward()
    dense = head.centers.grad.to_dense().view(C, K, E)
    torch.testing.assert_close(dense[classes].flatten(0, 1), part.centers.grad)
    assert (head.num_rows, tuple(head.rows)) == (C * K, (0, C * K))


def test_one_subcentre_is_the_head_without_them_to_the_bit() -> None:
    plain, one = (FullSoftmax(C, E, ArcFace(), **words) for words in ({}, {"num_subcenters": 1}))
    embeddings, _, labels = faces()
    assert torch.equal(plain.centers, one.centers)
    assert torch.equal(plain(embeddings.float(), labels), one(embeddings.float(), labels))
    with pytest.raises(ValueError, match="num_subcenters must be at least 1"):
        FullSoftmax(C, E, ArcFace(), num_subcenters=0)


def test_the_dominant_subcentre_wins_most_images_and_angles_are_to_it() -> None:
    centers = torch.eye(4)  # two classes of two sub-centres
    images = torch.tensor([[1.0, 0, 0, 0], [1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 2.0]])
    found = dominant_subcenters(images, torch.tensor([0, 0, 0, 1]), centers, num_subcenters=2)
    assert found.votes.tolist() == [[2, 1], [0, 1]]
    assert found.dominant.tolist() == [0, 1]
    torch.testing.assert_close(found.angles, torch.tensor([0.0, 0.1, torch.pi / 2, 0.0]), rtol=1e-2, atol=1e-3)
    assert near_dominant(found).tolist() == [True, True, False, True]
