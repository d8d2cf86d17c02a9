"""Bad records: raised in one line, or skipped at the cost of themselves alone, on every rank alike."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from transface.data.batches import FaceBatch
from transface.data.loaders import close_loader, make_loader
from transface.data.sampling.orders import SequentialOrder, ShuffledOrder
from transface.data.sampling.rank_batches import RankBatches
from transface.data.sources.bad_records import BadRecordError, BadRecords, TolerantDataset
from transface.data.sources.identity_pack import IdentityPack

LABELS = [number // 4 for number in range(40)]
BAD = b"\xff\xd8\xff broken"


def delivered(source: object, sampler: RankBatches, num_workers: int) -> list[FaceBatch]:
    loader = make_loader(source, sampler, num_workers=num_workers, pin_memory=False)
    try:
        return list(loader)
    finally:
        close_loader(loader)


@pytest.fixture
def pack(tmp_path: Path, make_pack: Callable) -> IdentityPack:
    return IdentityPack(make_pack(tmp_path, LABELS, payloads={7: BAD, 8: BAD, 39: b""}))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_raise_is_one_line_that_names_the_record(pack: IdentityPack, num_workers: int) -> None:
    with pytest.raises(
        BadRecordError, match=r"^image of key 8 in .*train\.rec cannot be decoded.*on_bad_record=skip.*$"
    ) as caught:
        delivered(TolerantDataset(pack), RankBatches(SequentialOrder(40), 5), num_workers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_skip_costs_the_bad_record_alone_with_ranks_in_step(
    pack: IdentityPack, num_workers: int, world_size: int
) -> None:
    keys, counts = [], []
    for rank in range(world_size):
        faces = TolerantDataset(pack, on_bad_record="skip", max_bad_share=0.2)
        sampler = RankBatches(SequentialOrder(40), 20 // world_size, rank=rank, world_size=world_size)
        batches = delivered(faces, sampler, num_workers)
        assert [len(batch.keys) for batch in batches] == [20 // world_size] * 2
        for batch in batches:
            assert torch.equal(
                batch.images, torch.cat([pack.__getitems__([key]).images for key in batch.keys.tolist()])
            )
            assert batch.labels.tolist() == [LABELS[key] for key in batch.keys.tolist()]
        keys += [key for batch in batches for key in batch.keys.tolist()]
        counts.append(faces.take_counts())
    assert sum(count.bad for count in counts) == 3
    assert sum(count.read for count in counts) == 40
    assert sorted(keys) == sorted([*(set(range(40)) - {7, 8, 39}), 9, 9, 0])


def test_counts_are_those_since_the_last_taking(pack: IdentityPack) -> None:
    faces = TolerantDataset(pack, on_bad_record="skip", max_bad_share=0.5)
    faces.__getitems__([7, 1, 2])
    assert faces.take_counts() == BadRecords(1, 3)
    assert faces.take_counts() == BadRecords(0, 0)
    faces.__getitems__([7, 8, 2])
    assert faces.take_counts() == BadRecords(2, 3)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_more_than_the_allowed_share_stops_the_run(pack: IdentityPack, num_workers: int) -> None:
    faces = TolerantDataset(pack, on_bad_record="skip", max_bad_share=0.05)
    with pytest.raises(
        BadRecordError, match=r"^3 of the \d+ records read so far were bad, more than max_bad_share=0\.05 allows"
    ):
        delivered(faces, RankBatches(ShuffledOrder(40), 20), num_workers)


def test_the_share_of_a_whole_epoch_is_judged_too(pack: IdentityPack) -> None:
    faces = TolerantDataset(pack, on_bad_record="skip", max_bad_share=0.1)
    faces.check_share(BadRecords(10, 100))
    with pytest.raises(BadRecordError, match="11 of the 100"):
        faces.check_share(BadRecords(11, 100))


def test_a_set_without_a_good_record_ends(tmp_path: Path, make_pack: Callable) -> None:
    pack = IdentityPack(make_pack(tmp_path, [0, 0, 1], payloads=dict.fromkeys(range(3), BAD)))
    with pytest.raises(BadRecordError, match="none of the 3 records is good"):
        TolerantDataset(pack, on_bad_record="skip", max_bad_share=1).__getitems__([1])


def test_good_batches_are_passed_on_as_they_are(pack: IdentityPack) -> None:
    faces = TolerantDataset(pack, on_bad_record="skip")
    assert len(faces) == 40
    assert torch.equal(faces.__getitems__([3, 1]).images, pack.__getitems__([3, 1]).images)
    assert faces.take_counts() == BadRecords(0, 2)


def test_unknown_words_are_refused(pack: IdentityPack) -> None:
    with pytest.raises(ValueError, match="on_bad_record must be 'raise' or 'skip', got 'ignore'"):
        TolerantDataset(pack, on_bad_record="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"max_bad_share must be in 0\.\.1, got 2"):
        TolerantDataset(pack, max_bad_share=2)
