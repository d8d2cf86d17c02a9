"""Masked pairs: one side or both, alike every time; folders of real ones as MFR2 lists them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import encode_jpeg

from transface.data.augment.surgical_mask import SurgicalMask
from transface.data.benchmarks.pairs import read_pair_set, write_pair_set
from transface.evaluation.decisions.error_discard import ErrorDiscard
from transface.evaluation.recognition.masked_pairs import MaskedPairs, masked_images, read_pairs_folder, resized
from transface.images.headers import image_size


def picture(seed: int) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    return bytes(
        encode_jpeg(torch.randint(0, 256, (3, 112, 112), dtype=torch.uint8, generator=generator)).numpy().tobytes()
    )


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    write_pair_set(tmp_path / "own.bin", [picture(k) for k in range(8)], [True, False, True, False])
    return tmp_path / "own.bin"


def test_masks_are_drawn_on_the_sides_named_and_alike_every_time(pairs: Path) -> None:
    whole = read_pair_set(pairs)
    for side, changed in (("one", [1, 3, 5, 7]), ("both", list(range(8)))):
        first, second = (masked_images(whole, SurgicalMask(), side=side) for _ in range(2))  # type: ignore[arg-type]
        differs = [bytes(a) != bytes(b) for a, b in zip(first, whole.images, strict=True)]
        assert [index for index, value in enumerate(differs) if value] == changed
        assert all(bytes(a) == bytes(b) for a, b in zip(first, second, strict=True))
    other = masked_images(whole, SurgicalMask(), side="both", seed=1)
    assert bytes(other[0]) != bytes(masked_images(whole, SurgicalMask(), side="both")[0])


def test_each_side_is_a_set_of_its_own_named_after_what_was_drawn(pairs: Path) -> None:
    protocol = MaskedPairs([pairs], occluder=SurgicalMask())
    protocol.prepare()
    assert protocol.names == ["own", "own_surgical_mask_one", "own_surgical_mask_both"]
    with pytest.raises(ValueError, match="none, one and both"):
        MaskedPairs([pairs], occluder=SurgicalMask(), sides=["left"])  # type: ignore[list-item]
    with pytest.raises(FileNotFoundError, match=r"nowhere\.bin"):
        MaskedPairs(["nowhere.bin"], occluder=SurgicalMask())


def test_a_folder_of_people_is_read_by_its_list_with_numbered_and_other_names(tmp_path: Path) -> None:
    for name, files in {"Ann": ["Ann_0001.png", "Ann_0002.png"], "Bo": ["x.png", "y.jpg"]}.items():
        (tmp_path / name).mkdir()
        for k, file in enumerate(files):
            (tmp_path / name / file).write_bytes(picture(k + 10 * len(name)))
    (tmp_path / "pairs.txt").write_text("Ann 1 2\nAnn 2 Bo 2\n")
    found = read_pairs_folder(tmp_path)
    assert found.is_same.tolist() == [True, False]
    expected = [
        tmp_path / "Ann" / "Ann_0001.png",
        tmp_path / "Ann" / "Ann_0002.png",
        tmp_path / "Ann" / "Ann_0002.png",
        tmp_path / "Bo" / "y.jpg",
    ]
    assert [
        bytes(np.asarray(image).tobytes() if isinstance(image, np.ndarray) else image) for image in found.images
    ] == [p.read_bytes() for p in expected]
    (tmp_path / "pairs.txt").write_text("Ann 1 2\nAnn 9 Bo 1\n")
    with pytest.raises(ValueError, match="line 2 names image 9 of Ann"):
        read_pairs_folder(tmp_path)


def test_images_of_a_folder_are_brought_to_one_size(pairs: Path) -> None:
    small = resized(read_pair_set(pairs), 56)
    assert {image_size(bytes(image)) for image in small.images} == {(56, 56)}
    same = resized(read_pair_set(pairs), 112)
    assert [bytes(image) for image in same.images] == [bytes(image) for image in read_pair_set(pairs).images]


def test_sets_of_one_name_and_sides_of_no_pixels_are_refused(pairs: Path) -> None:
    for files, sides in (([pairs, pairs], ["one"]), ([pairs], ["one", "one"])):
        with pytest.raises(ValueError, match="two pair sets are named own_surgical_mask_one"):
            MaskedPairs(files, occluder=SurgicalMask(), sides=sides)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="image_size must be at least 1"):
        MaskedPairs([pairs], occluder=SurgicalMask(), image_size=0)
    with pytest.raises(ValueError, match="two pair sets are named own"):
        ErrorDiscard([pairs, pairs])
