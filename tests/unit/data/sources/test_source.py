"""Sources: told by what lies there, and several joined into one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from transface.data.loaders import make_loader
from transface.data.sampling.orders import ClassBalancedOrder, WeightedOrder
from transface.data.sampling.rank_batches import RankBatches
from transface.data.sources.identity_pack import IdentityPack
from transface.data.sources.image_files import FileFaces
from transface.data.sources.record_list import RecordList
from transface.data.sources.source import SourceMix, open_source
from transface.images.decoding import ImageError


@pytest.fixture
def packs(tmp_path: Path, make_pack: Callable) -> list[IdentityPack]:
    return [
        IdentityPack(make_pack(tmp_path / name, labels)) for name, labels in (("a", [0, 0, 1]), ("b", [0, 1, 2, 2]))
    ]


def test_what_lies_there_decides(tmp_path: Path, make_pack: Callable, make_jpeg: Callable) -> None:
    pack = make_pack(tmp_path / "pack", [0, 1])
    assert isinstance(open_source(pack), IdentityPack)
    assert isinstance(open_source(pack / "train.rec"), IdentityPack)
    (pack / "train.lst").write_text("1\t0\ta\n")
    assert isinstance(open_source(pack / "train.rec"), RecordList)
    (tmp_path / "folder" / "ann").mkdir(parents=True)
    (tmp_path / "folder" / "ann" / "a.jpg").write_bytes(make_jpeg(0))
    assert isinstance(open_source(tmp_path / "folder"), FileFaces)
    (tmp_path / "folder" / "list.csv").write_text("path,label\nann/a.jpg,0\n")
    assert isinstance(open_source(tmp_path / "folder" / "list.csv"), FileFaces)
    (tmp_path / "odd.txt").touch()
    with pytest.raises(ValueError, match=r"odd\.txt is no data that can be read"):
        open_source(tmp_path / "odd.txt")
    with pytest.raises(FileNotFoundError, match="no data at"):
        open_source(tmp_path / "absent")


def test_a_mix_is_its_sources_one_after_the_other(packs: list[IdentityPack]) -> None:
    mix = SourceMix(packs)
    assert (len(mix), mix.num_identities) == (7, 5)
    assert mix.labels.tolist() == [0, 0, 1, 2, 3, 4, 4]
    indices = [6, 0, 3, 2, 6, 5]
    batch = mix.__getitems__(indices)
    assert batch.labels.tolist() == mix.labels[indices].tolist()
    assert batch.keys.tolist() == indices
    for image, index in zip(batch.images, indices, strict=True):
        source, own = (packs[0], index) if index < 3 else (packs[1], index - 3)
        assert torch.equal(image, source.__getitems__([own]).images[0])
        assert mix.encoded(index) == source.encoded(own)
        assert mix.name(index) == source.name(own)


def test_sources_of_the_same_people_share_an_offset(packs: list[IdentityPack]) -> None:
    mix = SourceMix(packs, label_offsets=[0, 0])
    assert mix.num_identities == 3
    assert mix.labels.tolist() == [0, 0, 1, 0, 1, 2, 2]


def test_a_mix_in_a_mix_keeps_counting(packs: list[IdentityPack]) -> None:
    mix = SourceMix([SourceMix(packs), packs[0]])
    assert mix.labels.tolist() == [0, 0, 1, 2, 3, 4, 4, 5, 5, 6]
    assert mix.__getitems__([9, 0]).labels.tolist() == [6, 0]


@pytest.mark.parametrize("offsets", [[0], [0, -1], [0, 1, 2]])
def test_wrong_offsets_are_refused(packs: list[IdentityPack], offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="label_offsets must be one number of 0 or more for each of the 2 sources"):
        SourceMix(packs, label_offsets=offsets)
    with pytest.raises(ValueError, match="at least one source"):
        SourceMix([])


@pytest.mark.parametrize("index", [-1, 7])
def test_an_index_outside_is_refused(packs: list[IdentityPack], index: int) -> None:
    mix = SourceMix(packs)
    for read in (mix.encoded, mix.name, lambda i: mix.__getitems__([0, i])):
        with pytest.raises(IndexError, match="no image"):
            read(index)


def test_an_error_names_the_source(tmp_path: Path, make_pack: Callable, packs: list[IdentityPack]) -> None:
    bad = IdentityPack(make_pack(tmp_path / "c", [0, 0], payloads={1: b"\xff\xd8\xffx"}))
    with pytest.raises(ImageError, match=r"of key 2 in .*/c/train\.rec"):
        SourceMix([*packs, bad]).__getitems__([0, 8])


def test_weighted_and_balanced_orders_walk_a_mix(packs: list[IdentityPack]) -> None:
    mix = SourceMix(packs)
    weighted = RankBatches(WeightedOrder(mix.sizes, [2, 1]), 5)
    seen = torch.cat([batch.keys for batch in make_loader(mix, weighted, num_workers=0, pin_memory=False)])
    assert np.bincount(seen.numpy(), minlength=7).tolist() == [2, 2, 2, 1, 1, 1, 1]
    balanced = RankBatches(ClassBalancedOrder(mix.labels, classes_per_batch=2, images_per_class=3), 6)
    for batch in make_loader(mix, balanced, num_workers=0, pin_memory=False):
        assert batch.labels.unique(return_counts=True)[1].tolist() == [3, 3]
