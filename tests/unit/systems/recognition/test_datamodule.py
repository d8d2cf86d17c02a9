"""RecognitionData: where faces come from, in which order, decoded where, and where a run resumes in them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torchvision.io import encode_jpeg

from transface.data.batches import EncodedBatch, FaceBatch
from transface.data.loaders import close_loader
from transface.data.recordio.reader import RecordReader
from transface.data.sampling.order_plans import class_balanced, in_blocks, shuffled
from transface.data.sources.bad_records import BadRecordError
from transface.synthetic.datasets import write_identity_pack, write_image_folder
from transface.systems.recognition.datamodule import RecognitionData

ORDERS = {
    "shuffled": shuffled,
    "in_blocks": partial(in_blocks, block_size=4, buffer_blocks=2),
    "class_balanced": partial(class_balanced, classes_per_batch=2, images_per_class=2),
}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people with four images each."""
    return write_identity_pack(tmp_path_factory.mktemp("pack") / "a", 6, images_per_identity=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people with three images each, as files."""
    return write_image_folder(tmp_path_factory.mktemp("folder") / "b", 2, images_per_identity=3)


def trained_by(data: RecognitionData, *, world_size: int = 1, rank: int = 0, epoch: int = 0) -> RecognitionData:
    """The data with what stands for a trainer."""
    progress = SimpleNamespace(current=SimpleNamespace(processed=0))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=world_size,
        global_rank=rank,
        is_global_zero=rank == 0,
        current_epoch=epoch,
        accumulate_grad_batches=1,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )
    return data


def read(data: RecognitionData, count: int | None = None) -> list[FaceBatch]:
    loader = data.train_dataloader()
    batches = []
    try:
        for batch in loader:
            batches.append(data.transfer_batch_to_device(batch, torch.device("cpu"), 0))
            if len(batches) == count:
                break
    finally:
        close_loader(loader)
    return batches


def keys(batches: list[FaceBatch]) -> list[int]:
    return torch.cat([batch.keys for batch in batches]).tolist()


def test_several_sources_are_one_set_with_people_apart(pack: Path, folder: Path) -> None:
    data = RecognitionData(sources=[str(pack), {"path": folder, "weight": 3.0}], total_batch_size=6, num_workers=0)
    assert data.num_identities == 8
    batches = read(trained_by(data))
    counts = torch.bincount(torch.tensor(keys(batches)), minlength=30)
    assert counts.tolist() == [1] * 24 + [3] * 6
    labels = torch.cat([batch.labels for batch in batches])
    assert torch.bincount(labels).tolist() == [4] * 6 + [9] * 2


def test_sources_of_the_same_people_share_an_offset(pack: Path, folder: Path) -> None:
    data = RecognitionData(
        sources=[{"path": folder}, {"path": pack, "label_offset": 0}, {"path": folder}], total_batch_size=4
    )
    assert data.num_identities == 8
    assert data.dataset.source.labels.tolist() == [0] * 3 + [1] * 3 + [n // 4 for n in range(24)] + [6] * 3 + [7] * 3


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"weight": 2}, "a source is a path or"),
        ({"path": "x", "wieght": 2}, "a source is a path or"),
        (7, "got 7"),
        ("nowhere", "no data at nowhere"),
    ],
)
def test_a_wrong_source_is_refused(entry: Any, complaint: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=complaint):
        RecognitionData(sources=[entry])


def test_faces_come_from_one_place(pack: Path) -> None:
    for words in ({}, {"root": pack, "sources": [pack]}):
        with pytest.raises(ValueError, match="give one of"):
            RecognitionData(**words)
    with pytest.raises(ValueError, match=r"weights must be above 0, got \[0\.0, 1\.0\]"):
        RecognitionData(sources=[{"path": pack, "weight": 0}, pack])


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_order_goes_on_where_it_stopped(name: str, num_workers: int, pack: Path) -> None:
    def fresh() -> RecognitionData:
        return RecognitionData(pack, order=ORDERS[name], total_batch_size=4, num_workers=num_workers, seed=5)

    whole = keys(read(trained_by(fresh(), epoch=1)))
    assert len(whole) == 24
    stopped = trained_by(fresh(), epoch=1)
    begun = keys(read(stopped, count=2))
    stopped.trainer.fit_loop.epoch_loop.batch_progress.current.processed = 2  # type: ignore[union-attr]
    state = stopped.state_dict()
    assert state["epoch"] == 1
    for world_size in (1, 2):
        ranks = []
        for rank in range(world_size):
            data = trained_by(fresh(), world_size=world_size, rank=rank)
            data.load_state_dict(state)
            ranks.append(
                [batch.keys.tolist() for batch in read(data)] if name != "class_balanced" or world_size == 1 else None
            )
        if ranks[0] is not None:
            assert begun + [key for step in zip(*ranks, strict=True) for part in step for key in part] == whole


def test_decoding_on_the_device_gives_the_same_batches(pack: Path) -> None:
    usual = read(trained_by(RecognitionData(pack, total_batch_size=8, num_workers=0)))
    data = trained_by(RecognitionData(pack, total_batch_size=8, num_workers=1, decode="device"))
    loader = data.train_dataloader()
    assert all(isinstance(batch, EncodedBatch) for batch in loader)
    close_loader(loader)
    for batch, expected in zip(read(data), usual, strict=True):
        assert all(torch.equal(got, wanted) for got, wanted in zip(batch, expected, strict=True))


@pytest.fixture
def wounded(pack: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the pack with one bad record, of key 3."""

    def make(kind: str) -> Path:
        for name in ("train.rec", "train.idx", "property"):
            (tmp_path / name).write_bytes((pack / name).read_bytes())
        offset = int(RecordReader(pack / "train.rec").index.offsets[3])
        wound = {
            "body": (8 + 24 + 2, b"\xff\xc4" + b"\xff" * 40),  # the tables of the JPEG
            "size": None,
            "label": (8 + 4, b"\0\0\x80\x7f"),  # infinity
            "magic": (0, b"JUNK"),
            "not an image": (8 + 24, b"\0" * 20),
        }[kind]
        data = bytearray((tmp_path / "train.rec").read_bytes())
        if wound is None:
            small = encode_jpeg(torch.zeros(3, 96, 112, dtype=torch.uint8)).numpy().tobytes()
            wound = (8 + 24, small)
        data[offset + wound[0] : offset + wound[0] + len(wound[1])] = wound[1]
        (tmp_path / "train.rec").write_bytes(data)
        return tmp_path

    return make


@pytest.mark.parametrize("decode", ["workers", "device"])
@pytest.mark.parametrize("kind", ["body", "size", "label", "magic", "not an image"])
def test_a_bad_record_costs_itself_alone_wherever_it_is_decoded(
    wounded: Callable[[str], Path], pack: Path, kind: str, decode: Any
) -> None:
    settings = {"total_batch_size": 8, "num_workers": 0, "decode": decode}
    data = trained_by(RecognitionData(wounded(kind), on_bad_record="skip", max_bad_share=0.1, **settings))
    good = trained_by(RecognitionData(pack, **settings))
    for batch, expected in zip(read(data), read(good), strict=True):
        for place, key in enumerate(expected.keys.tolist()):
            stand_in = 3 if key == 2 else key  # the record of key 3 is image 2
            assert batch.keys[place] == stand_in
            if key != 2:
                assert torch.equal(batch.images[place], expected.images[place])
                assert batch.labels[place] == expected.labels[place]
    assert data.dataset.take_counts() == (1, 24)
    with pytest.raises(ValueError, match=r"key 3|offset"):
        read(trained_by(RecognitionData(wounded(kind), **settings)))


def test_a_bad_image_found_on_the_device_is_raised_in_one_line(wounded: Callable[[str], Path]) -> None:
    data = trained_by(RecognitionData(wounded("body"), total_batch_size=24, num_workers=0, decode="device"))
    with pytest.raises(BadRecordError, match=r"^image of key 3 in .* cannot be decoded.*on_bad_record=skip leaves"):
        read(data)


def test_what_cannot_be_decoded_on_a_device_is_refused(pack: Path) -> None:
    class Drawn:
        num_identities = 2

        def __len__(self) -> int:
            return 4

        def __getitems__(self, indices: list[int]) -> FaceBatch:
            raise AssertionError

    with pytest.raises(
        ValueError, match="decode='device' needs a source that gives its images undecoded, Drawn does not"
    ):
        RecognitionData(source=Drawn(), decode="device")
    with pytest.raises(ValueError, match="decode must be 'workers' or 'device', got 'gpu'"):
        RecognitionData(pack, decode="gpu")  # type: ignore[arg-type]
