"""Digests: equal for equal images, near for the same picture, far for another."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torchvision.io import encode_jpeg

from transface.images.decoding import decode_images
from transface.packs.image_digests import (
    bit_distance,
    content_digests,
    equal_groups,
    grey_spread,
    near_pairs,
    perceptual_digests,
)


def test_content_digests_tell_bytes_apart() -> None:
    digests = content_digests([b"a", b"b", b"a", b"", b"b", b"a"])
    assert [group.tolist() for group in equal_groups(digests)] == [[0, 2, 5], [1, 4]]
    assert equal_groups(content_digests([b"a", b"b"])) == []


def naive_bits(image: torch.Tensor) -> list[bool]:
    grey = image.double().mean(0).numpy()
    side = grey.shape[0]
    bits = []
    for u in range(1, 17):
        for v in range(1, 17):
            rows = np.cos(np.pi / side * (np.arange(side) + 0.5) * u)
            columns = np.cos(np.pi / side * (np.arange(side) + 0.5) * v)
            bits.append(bool((grey * rows[:, None] * columns[None]).sum() > 0))
    return bits


def test_a_digest_is_the_signs_of_the_cosine_transform(make_picture: Callable) -> None:
    images = torch.stack([make_picture(seed) for seed in range(3)])
    digests = perceptual_digests(images)
    for image, digest in zip(images, digests, strict=True):
        ours = np.unpackbits(digest.view(np.uint8)).astype(bool)
        assert (ours != naive_bits(image)).sum() <= 2  # coefficients that are 0 but for rounding


def test_a_new_compression_is_near_and_another_picture_far() -> None:
    from transface.synthetic.datasets import make_faces

    images = make_faces(40, 2).images
    digests = perceptual_digests(images)
    again = perceptual_digests(
        decode_images([encode_jpeg(image.contiguous(), quality=70).numpy().tobytes() for image in images])
    )
    assert np.percentile(bit_distance(digests, again), 95) <= 12
    brighter = perceptual_digests((images.float() * 0.9 + 10).to(torch.uint8))
    assert bit_distance(digests, brighter).max() <= 12
    pairs = [(i, j) for i in range(len(images)) for j in range(i)]
    assert bit_distance(*(digests[[pair[side] for pair in pairs]] for side in (0, 1))).min() > 20


@pytest.mark.parametrize("most_bits", [0, 5, 15])
def test_near_pairs_are_those_of_all_comparisons(most_bits: int) -> None:
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, (60, 256), dtype=np.uint8)
    for row in range(30, 60):  # each of these is one of the others with some bits turned
        bits[row] = bits[row - 30]
        bits[row, draw.permutation(256)[: row - 30]] ^= 1
    digests = np.packbits(bits, axis=1).view("<u8")
    found = near_pairs(digests, most_bits=most_bits)
    naive = [(i, j, int((bits[i] != bits[j]).sum())) for i in range(60) for j in range(i + 1, 60)]
    assert list(zip(*(column.tolist() for column in found), strict=True)) == [
        row for row in naive if row[2] <= most_bits
    ]


def test_no_images_have_no_pairs() -> None:
    empty = np.zeros((0, 4), dtype="<u8")
    assert len(near_pairs(empty, most_bits=15).first) == 0
    assert len(near_pairs(np.zeros((1, 4), dtype="<u8"), most_bits=15).first) == 0
    assert equal_groups(np.zeros((0, 2), dtype="<u8")) == []


def test_a_blank_image_has_no_spread(make_picture: Callable) -> None:
    spread = grey_spread(torch.stack([torch.full((3, 112, 112), 90, dtype=torch.uint8), make_picture(0)]))
    assert spread[0] == 0
    assert spread[1] == pytest.approx(float(make_picture(0).double().mean(0).std()), rel=1e-4)
