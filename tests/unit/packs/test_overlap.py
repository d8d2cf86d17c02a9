"""Overlap by a model: who stands in two sets, and who stands twice in one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from transface.data.benchmarks.pairs import PairSet
from transface.data.sources.identity_pack import IdentityPack
from transface.packs.overlap import embed_pair_set, identity_means, look_alikes, overlap_with


def embed(images: torch.Tensor) -> torch.Tensor:
    """A stand-in for a model: the picture itself, very small."""
    return F.adaptive_avg_pool2d(images.float() - 128, 4).flatten(1)


@pytest.fixture
def pack(tmp_path: Path, make_pack: Callable, make_jpeg: Callable) -> IdentityPack:
    pictures = [0, 0, 1, 1, 2, 3, 0]  # identity 4 shows what identity 0 shows
    payloads = {index: make_jpeg(picture, quality=95 - index) for index, picture in enumerate(pictures)}
    return IdentityPack(make_pack(tmp_path, [0, 0, 1, 1, 2, 3, 4], payloads=payloads))


def test_means_are_the_directions_of_the_first_images(pack: IdentityPack) -> None:
    means = identity_means(pack, embed, labels=pack.labels, num_identities=pack.num_identities, images_per_identity=1)
    assert torch.allclose(means[1], F.normalize(embed(pack.__getitems__([2]).images))[0], atol=1e-6)
    both = identity_means(pack, embed, labels=pack.labels, num_identities=pack.num_identities)
    rows = F.normalize(embed(pack.__getitems__([2, 3]).images))
    assert torch.allclose(both[1], F.normalize(rows.sum(0), dim=0), atol=1e-6)
    assert torch.allclose(both.norm(dim=1), torch.ones(5))


def test_images_to_be_skipped_belong_to_nobody(pack: IdentityPack) -> None:
    labels = pack.labels.copy()
    labels[[0, 5]] = -1
    means = identity_means(pack, embed, labels=labels, num_identities=pack.num_identities)
    assert torch.allclose(means[0], F.normalize(embed(pack.__getitems__([1]).images))[0], atol=1e-6)
    assert means[3].norm() == 0


def test_identities_that_look_like_one_are_found(pack: IdentityPack) -> None:
    found = look_alikes(
        identity_means(pack, embed, labels=pack.labels, num_identities=pack.num_identities), threshold=0.98
    )
    assert [(pair.first, pair.second) for pair in found] == [(0, 4)]
    assert found[0].cosine > 0.98


def test_people_of_a_test_set_are_found(pack: IdentityPack, make_jpeg: Callable) -> None:
    images = [make_jpeg(40), make_jpeg(41), make_jpeg(2, quality=60), np.frombuffer(make_jpeg(42), dtype=np.uint8)]
    test = embed_pair_set(PairSet("test", images, np.array([True, False])), embed, size=(112, 112))
    found = overlap_with(
        identity_means(pack, embed, labels=pack.labels, num_identities=pack.num_identities), test, threshold=0.98
    )
    assert [(pair.first, pair.second) for pair in found] == [(2, 2)]


def test_blocks_give_what_one_product_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = F.normalize(torch.randn(37, 3))
    whole = look_alikes(rows, threshold=0.9)
    near = overlap_with(rows, rows[::5], threshold=0.9)
    monkeypatch.setattr("transface.packs.overlap.BLOCK", 5)
    blocks = look_alikes(rows, threshold=0.9)
    assert [(pair.first, pair.second) for pair in blocks] == [(pair.first, pair.second) for pair in whole]
    assert [pair.cosine for pair in blocks] == pytest.approx([pair.cosine for pair in whole])
    assert {pair[:2] for pair in overlap_with(rows, rows[::5], threshold=0.9)} == {pair[:2] for pair in near}
    cosines = (rows @ rows.T).numpy()
    assert {(pair.first, pair.second) for pair in whole} == {
        (i, j) for i in range(37) for j in range(i + 1, 37) if cosines[i, j] >= 0.9
    }
